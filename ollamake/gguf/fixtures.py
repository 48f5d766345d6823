"""What the proof is run over beside the user's own prompts: conversations of every shape, and awkward strings."""

import random
from collections.abc import Sequence

from ollamake.chat import Message

# No two messages of one role in a row: Ollama joins such messages with a blank line before any template sees them.
CONVERSATIONS: dict[str, list[Message]] = {
    "a question": [{"role": "user", "content": "How do I list the files of a folder?"}],
    "a system message": [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "several turns": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello! What can I do for you?"},
        {"role": "user", "content": "Count to three."},
        {"role": "assistant", "content": "1, 2, 3."},
        {"role": "user", "content": "And back?"},
    ],
    "several turns after a system message": [
        {"role": "system", "content": "You are terse.\nYou never apologise."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Because of what?"},
    ],
    "other scripts": [{"role": "user", "content": "Grüße, 世界! Привет, мир. مرحبا ๑๒๓ ½ ② 👩‍👩‍👧 e\u0301 ﬁ"}],
    "digits and spaces": [{"role": "user", "content": "a  <  10\n\n5   12345  +  67 = ?\n\n\n  x\t\ty 3.14e-10"}],
    "quotes and code": [
        {
            "role": "user",
            "content": 'say "it\'s" \'so\' `$HOME` \\n {{ .Role }} {% if x %} </a> & """\n\n```sh\nls | wc\n```',
        }
    ],
}

# Apart, because some Jinja templates (Llama 3, Gemma) strip each message and a Go template has no function for that.
EDGE_SPACES: dict[str, list[Message]] = {
    "spaces around a message": [{"role": "user", "content": "\n  spaced out \n"}],
}

_PIECES = (
    *("the", " The", "ing", "don't", "I'LL", "we’ve", "naïve", "Straße", "x_1", "camelCase", "HTTP/1.1", "a.b,c;d"),
    *(" ", "  ", "    ", "\t", "\n", "\n\n", " \n ", "\r\n", "\u00a0", "\u3000", "\u200b"),
    *("0", "7", "42", "1234567", "3.14", "1,000", "½", "②", "٣٤", "๑๒", "Ⅷ"),
    *("!", "...", "--", "=>", "<|", "|>", "{{", "}}", "[", "]", "$", "€", "#", "\\", '"', "'", "`"),
    *(
        "世界",
        "こんにちは",
        "한국어",
        "Привет",
        "مرحبا",
        "שלום",
        "ไทย",
        "हिन्दी",
        "e\u0301",
        "👍🏽",
        "👩‍👩‍👧",
        "🇫🇷",
        "\ufffd",
    ),
)
_KNOWN_TRAPS = ("  12", "\n\n5", "a  <  10", "| 1 | 22 |", "    return 1", " leading", "trailing ", "", " ", "\n")


def awkward_strings(control_tokens: Sequence[str], count: int = 240) -> list[str]:
    """Return `count` strings, the same on every call, on which tokenizers tend to differ; some hold control tokens.

    The traps are those that caught real bugs: a pre-tokenizer without its digit splitter differs on 17 % of such
    strings and on hardly any sentence.
    """
    draw = random.Random(0)  # noqa: S311  # a fixed sequence is wanted
    mixed = ["".join(draw.choices(_PIECES, k=draw.randint(2, 8))) for _ in range(count - len(_KNOWN_TRAPS))]
    for index, token in enumerate(control_tokens[:8]):
        mixed[index] = f"{mixed[index]}{token}{mixed[-1 - index]}"
    return [*_KNOWN_TRAPS, *mixed]
