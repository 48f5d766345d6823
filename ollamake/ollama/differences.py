"""Where two texts, two sets of parameters or two answers part, said so that a person sees it at once."""

import ast
from collections.abc import Mapping, Sequence

from ollamake.ollama.modelfile import Parameter
from ollamake.ollama.server import Token

CONTEXT_CHARACTERS = 40
# The token of the recorded answer may be this much less likely than the one the server chose. One engine on one file
# moves choices when it sums in another order or rounds elsewhere: SmolLM2 answered 7 of 20 questions word for word
# after flash attention was turned off, 4 with an 8-bit cache, and the other answers parted at up to 0.8 nats.
NEAR_TIE_NATS = 1.0


def apart(expected: str, served: str) -> str:
    """Return two lines that show where the texts part; empty when they are equal."""
    if expected == served:
        return ""
    place = next((i for i, pair in enumerate(zip(expected, served, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(expected), len(served)) if place is None else place
    sides = (
        f"\n      {name:<9} {_around(text, place)}" for name, text in (("expected:", expected), ("served:", served))
    )
    return f"differs at character {place}{''.join(sides)}"


def parameters_apart(expected: Mapping[str, Parameter], shown: str) -> str:
    """Compare parameters with the text of /api/show, `key  value` lines in any order; empty when all are there."""
    served: dict[str, list[str]] = {}
    for line in shown.splitlines():
        key, _, value = line.partition(" ")
        served.setdefault(key, []).append(value.strip())
    wrong = [
        f"{key} is {', '.join(served.get(key, ['missing']))} instead of {value!r}"
        for key, value in expected.items()
        if not _as_set(value, served.get(key, []))
    ]
    wrong += [f"{key} is set to {', '.join(values)}" for key, values in served.items() if key not in expected]
    return f"parameters: {'; '.join(wrong)}" if wrong else ""


def parts_at_near_tie(recorded: str, tokens: Sequence[Token]) -> bool:
    """Tell whether the server could as well have given the recorded answer where its own leaves it.

    True when a token that goes on as recorded was hardly less likely than the one chosen. Only texts are compared, and
    " plan" may be one token there and two here: a longer token that was as likely just before the parting counts, too.
    """
    rest, longer_was_near = recorded.encode(), False
    for token in tokens:
        likeliest = max((logprob for _, logprob in token.likeliest), default=0.0)
        near = [text for text, logprob in token.likeliest if likeliest - logprob <= NEAR_TIE_NATS]
        going_on = [text for text in near if _goes_on(rest, text)]
        if not _goes_on(rest, token.text):
            return longer_was_near or bool(going_on)
        longer_was_near = any(len(text) > len(token.text) for text in going_on)
        rest = rest[len(token.text) :]
    return False


def _goes_on(rest: bytes, token: bytes) -> bool:
    return rest.startswith(token) if token else not rest  # the token that ends an answer has no text


def _around(text: str, place: int) -> str:
    start, end = max(0, place - CONTEXT_CHARACTERS), place + CONTEXT_CHARACTERS
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"


def _as_set(value: Parameter, served: Sequence[str]) -> bool:
    if isinstance(value, int | float):
        return len(served) == 1 and _number(served[0]) == value
    return sorted(value) == sorted(_text(shown) for shown in served)


def _number(shown: str) -> float | None:
    try:
        return float(shown)
    except ValueError:
        return None


def _text(shown: str) -> str:
    # Go's %#v quotes a string as Go source, which for what stop tokens hold is Python source, too.
    try:
        return str(ast.literal_eval(shown))
    except (ValueError, SyntaxError):
        return shown
