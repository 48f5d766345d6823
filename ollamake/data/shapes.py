"""The shapes of rows: which fields make one, and how to read what it says and what is thought of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ollamake.data.conversations import Content, Message, answered, messages_in, system_of, text_in
from ollamake.data.findings import Rejected
from ollamake.data.formats.rows import Row
from ollamake.data.preferences import Judge, rejected_in, thumb_in, thumb_of

# The shapes whose one field is a list of messages. In LISTED ones, messages may stand too.
LISTS = ("messages", "conversations")
LISTED = (*LISTS, "prompt", "completion", "chosen", "rejected")
BESIDE = ("id", "task", "weight", "source")  # about the row, no part of what was said


@dataclass(frozen=True)
class Shape:
    """The fields that a row must have, those that it may have, and how to read what it says.

    `judge` reads what is thought of the answer. `otherwise` is the shape of a row whose `label` is no thumb, but
    something of the user's own.
    """

    name: str
    fields: tuple[str, ...]
    additions: tuple[str, ...]
    read: Callable[[Row], Content]
    judge: Judge | None = None
    otherwise: str = ""


@dataclass(frozen=True)
class Layout:
    """What rows with the same fields have in common."""

    shape: Shape
    beside: tuple[str, ...]  # the fields about the row
    lists: tuple[str, ...]  # those that the shape reads and that may hold messages
    unused: tuple[tuple[str, str], ...]  # the other fields that the shape does not read, and how to print them

    def ignored(self, row: Row) -> list[str]:
        """Return the fields that hold something and are no part of what the row says, fit to be written."""
        unused = [shown for key, shown in self.unused if row[key] and isinstance(row[key], str | list | dict)]
        for field in self.lists:
            if isinstance(row[field], list):
                inner = {key for message in row[field] if len(message) > 2 for key in message if message[key]}
                unused += sorted(f"{field}[].{_printable(key)}" for key in inner - {"role", "content", "from", "value"})
        return unused


def layout_of(row: Row, wanted: str = "auto") -> Layout:
    """Return how to read a row. Raises Rejected when no shape fits.

    `wanted` is the name of one of SHAPES, or auto: the first one whose fields are all there.
    """
    fields = tuple(row)
    if None in row.values():
        fields = _telling(row, wanted)
    found = layout(fields, wanted)
    if found.shape.otherwise and wanted == "auto" and thumb_of(row[LABEL]) is None:
        return layout(fields, found.shape.otherwise)
    return found


def _telling(row: Row, wanted: str) -> tuple[str, ...]:
    """Return the fields that hold something, or all of them if only all make a shape: then a null is the mistake."""
    fields = tuple(field for field, value in row.items() if value is not None)
    try:
        layout(fields, wanted)
    except Rejected:
        return tuple(row)
    return fields


@lru_cache(maxsize=1024)
def layout(fields: tuple[str, ...], wanted: str) -> Layout:
    """Return how to read rows that have these fields. Raises Rejected when no shape fits."""
    known = [shape for shape in SHAPES if wanted in ("auto", shape.name)]
    for shape in known:
        if set(shape.fields) <= set(fields):
            system = () if shape.name == "text" else ("system",)
            unused = sorted(set(fields) - {*shape.fields, *shape.additions, *system, *BESIDE})
            beside = tuple(field for field in BESIDE if field in fields)
            lists = tuple(field for field in shape.fields if field in LISTED)
            return Layout(shape, beside, lists, tuple((key, _printable(key)) for key in unused))
    raise _misfit(fields, known, "" if wanted == "auto" else f"the shape is to be {wanted}; ")


def _misfit(fields: tuple[str, ...], known: Sequence[Shape], forced: str) -> Rejected:
    """Return what the shape that comes closest wants and does not find."""
    if not forced:
        # Who gives a chosen or a rejected answer means a pair of them; a thumb alone means nothing.
        names = {"preference"} if {"chosen", "rejected"} & set(fields) else {shape.name for shape in PLAIN}
        known = [shape for shape in known if shape.name in names]
    if near := [shape for shape in known if set(shape.fields) & set(fields)]:
        closest = min(near, key=lambda shape: len(set(shape.fields) - set(fields)))
        present, missing = (
            sorted(key for key in closest.fields if (key in fields) is there) for there in (True, False)
        )
        return Rejected(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            f"{forced}beside {', '.join(present)}",
        )
    return Rejected(
        f"{known[0].fields[-1]} is missing" if forced else "none of the known fields",
        f"{forced}it has {', '.join(map(repr, sorted(fields)[:5])) or 'no fields'}",
    )


def _printable(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()


def _talk(row: Row, field: str) -> list[Message]:
    return system_of(row) + messages_in(row, field)


def _asked(row: Row, field: str, additions: tuple[str, ...] = ()) -> list[Message]:
    """Return what is asked: the messages in a field, or its text and what it is about."""
    if isinstance(row[field], list) and field in LISTED:
        return _talk(row, field)
    question = text_in(row, field)
    for key in additions:
        if row.get(key) not in (None, ""):
            question = f"{question}\n\n{text_in(row, key)}"
    return [*system_of(row), {"role": "user", "content": question}]


def _list(field: str) -> Shape:
    return Shape(field, (field,), (), lambda row: _talk(row, field))


def _pair(name: str, answer: str, additions: tuple[str, ...] = ()) -> Shape:
    listed = answer in LISTED

    def read(row: Row) -> Content:
        question = _asked(row, name, additions)
        if listed:
            return answered(question, row, answer)
        question.append({"role": "assistant", "content": text_in(row, answer)})
        return question

    return Shape(name, (name, answer), additions, read)


def _chosen(asked: str, additions: tuple[str, ...] = ()) -> Shape:
    def read(row: Row) -> Content:
        question = _talk(row, asked) if asked in LISTS else _asked(row, asked, additions)
        return answered(question, row, "chosen")

    return Shape("preference", (asked, "chosen", "rejected"), additions, read, rejected_in)


def _two_conversations(row: Row) -> Content:
    if isinstance(row["chosen"], str):
        raise Rejected("chosen is text, and there is no prompt", "without one, chosen is a list of messages")
    return answered([], row, "chosen")


# What an instruction may be about; it follows the instruction.
ABOUT = ("input", "context")
# The more telling shapes stand first: a row with `messages` and `text` is a conversation. Beside each but a plain text
# a `system` may stand.
CONVERSATIONS = (
    _list("messages"),
    _list("conversations"),
    _pair("instruction", "output", ABOUT),
    _pair("instruction", "response", ABOUT),
    _pair("prompt", "completion"),
)
PLAIN = (*CONVERSATIONS, Shape("text", ("text",), (), lambda row: text_in(row, "text")))
# Two answers to one prompt, of which one is better.
PREFERENCES = (
    _chosen("prompt"),
    _chosen("instruction", ABOUT),
    _chosen("question", ABOUT),
    _chosen("messages"),
    _chosen("conversations"),
    Shape("preference", ("chosen", "rejected"), (), _two_conversations, rejected_in),
    *(
        Shape("preference", (*shape.fields, "rejected"), shape.additions, shape.read, rejected_in)
        for shape in CONVERSATIONS
    ),
)
# An answer with a thumb. Labels are of many kinds, so one that is no thumb is left alone unless thumbs are asked for.
LABEL = "label"
THUMBS = tuple(
    Shape(
        "thumbs",
        (*shape.fields, thumb),
        shape.additions,
        shape.read,
        thumb_in(thumb),
        otherwise=shape.name if thumb == LABEL else "",
    )
    for thumb in ("thumb", "thumbs", "desirable", LABEL)
    for shape in CONVERSATIONS
)
SHAPES = (*PREFERENCES, *THUMBS, *PLAIN)
