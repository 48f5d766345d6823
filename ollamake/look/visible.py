"""Text as a person can safely see it: no character of the data moves the cursor or hides another."""

import unicodedata

MARKS = {"\n": "⏎", "\t": "⇥"}
# Both join letters of Persian, Hindi and many emoji: without them the text would be another.
JOINERS = "\u200c\u200d"
CONTROL_PICTURES = 0x2400


def visible(text: str) -> str:
    """Return `text` with a mark at each line end and tab, and with every other unprintable character spelt out."""
    if text.isprintable():
        return text
    return "".join(f"{_mark(character)}{character if character in MARKS else ''}" for character in text)


def on_one_line(text: str) -> str:
    """Return `text` as `visible` does, with the marks alone in place of line ends and tabs."""
    return text if text.isprintable() else "".join(map(_mark, text))


def _mark(character: str) -> str:
    if character.isprintable() or character in JOINERS:
        return character
    if character in MARKS:
        return MARKS[character]
    if character < " ":
        return chr(CONTROL_PICTURES + ord(character))
    # Other spaces are not printable to Python, yet they are what they look like; what is left would act or hide.
    return character if unicodedata.category(character) == "Zs" else f"<U+{ord(character):04X}>"
