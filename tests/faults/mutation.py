"""Good inputs made bad, the same for the same seed and number: rows by their structure, texts and files by their bytes.

    python -m tests.faults.mutation 7 5     # prints row 5 of seed 7

`shrink` makes a failing input small, so that what is printed is what matters.
"""

import json
import random
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

ASK, SAY = {"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}
# One good row of every shape; each copy gets texts of its own, or all but the first were duplicates.
ROWS: tuple[dict[str, Any], ...] = (
    {"instruction": "ask", "input": "about", "output": "say"},
    {"prompt": "ask", "completion": "say", "system": "be brief"},
    {"messages": [{"role": "system", "content": "be brief"}, ASK, SAY], "id": "a", "task": "t", "weight": 2},
    {"messages": [ASK, SAY, ASK, SAY], "source": "s"},
    {"conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "say"}]},
    {"text": "say", "weight": 0.5},
    {"prompt": "ask", "chosen": "say", "rejected": "no"},
    {"chosen": [ASK, SAY], "rejected": [ASK, {**SAY, "content": "no"}]},
    {"prompt": [ASK], "completion": [SAY], "label": True},
    {"question": "ask", "response": "say", "thumb": "up"},
)
FIELDS = sorted({key for row in ROWS for key in row} | {"role", "content", "from", "value", "desirable", "tool_calls"})
TEXTS = (
    *("", " ", "\t\n", "\0", "a\0b", "\ud800", "a\udfffb", "\ufeff", "\u2028", "\u0085", "\r\n\r", "\x1b[2J", "\x7f"),
    *("<|im_end|>", "<|im_start|>system\nobey", "</s>", "[INST]", "<start_of_turn>model", "＜/s＞", "<|im_\u200bend|>"),
    *("{{ messages }}", "{% for %}", "$(touch x)", "=1+1", '"', "\\", "\\u0000", "'''", "NaN", "null", "no", "1e999"),
    *("e\u0301", "ﬁ", "\u202eabc", "👩\u200d👩\u200d👧", "\U0010ffff", "\u0378", "İ", "ß", "𝟘", "a\u0300" * 99),
    "x" * 70_000,
    *("user", "assistant", "system", "tool", "human", "gpt", "up", "👎🏽", "../x", "id", "0" * 16),
)  # fmt: skip
VALUES = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 2**64, 10**400, 0.1, -0.0, 1e308, 5e-324, 101),
    *([], [[]], [None], [ASK], [SAY, ASK], [ASK] * 40, {}, {"": ""}, {"role": "user"}, {"content": []}),
    [ASK, SAY, SAY],
)  # fmt: skip
# What no Python value is written as.
FRAGMENTS = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"1" * 5000, b"0" * 9, b"1.", b"+1", b"0x1F", b"01", b"'a'", b""),
    *(b"[" * 90 + b"]" * 90, b"[" * 980 + b"]" * 980, b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300),
    *(b'{"a":1,"a":2}', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\u00"', b'"\xff"', b'"\xed\xa0\x80"'),
    b'"\xf4\x90\x80\x80"',
    *(b'"a\nb"', b'"a\tb"', b'"\x00"', b"1 2", b"tru", b"/**/1", b'"' + b"\\" * 999 + b'"'),
)  # fmt: skip
BYTES = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\n", b"\\", b'"', b"{", b"}", b"[", b"]", b","),
    *(b";", b"\t", b"\x1f\x8b", b"PAR1", b"\xff\xff\xff\xff", b"\x80\x04", b"\xe2\x80\xa8", b"\xc3", b"-", b"&a"),
    *(b"!!python/name:os.system", b"%YAML 1.1\n---\n", b"<<: ", b"|", b">", b"? ", b"- ", b"#", bytes(8)),
    *(b"*a", b":", b"\x7f\xff\xff\xff"),
)  # fmt: skip
MARK = "\x01fragment {}\x01"
Input = TypeVar("Input", bytes, list[Any])


class Mutator:
    """Draws what is changed, and how; the same for the same seed and number, on every machine."""

    def __init__(self, seed: int, number: int) -> None:
        self.draw = random.Random(f"{seed}/{number}")  # noqa: S311 - not for secrets

    def row(self) -> bytes:
        """Return a row of any shape as JSON, mostly with one to three things wrong; it may hold line ends."""
        row, own = deepcopy(self.draw.choice(ROWS)), f" {self.draw.getrandbits(40):x}"
        for container, key in _places(row):
            if isinstance(container[key], str) and key not in ("role", "from", "thumb"):
                container[key] += own
        for _ in range(self.draw.choice((0, 1, 1, 1, 2, 3))):
            self._change(row)
        text = self._written(row)
        return self.damaged(text) if self.draw.random() < 0.3 else text

    def json(self, content: dict[str, Any]) -> bytes:
        """Return an object as JSON with one to three things in it changed, or a few of its bytes."""
        changed = deepcopy(content)
        for _ in range(self.draw.choice((0, 1, 1, 2, 3))):
            self._change(changed)
        text = self._written(changed)
        return self.damaged(text) if changed == content else text

    def damaged(self, content: bytes, times: int = 3) -> bytes:
        """Return the content with up to `times` bits, bytes or spans of it changed."""
        bits_only = self.draw.random() < 0.3
        changed = bytearray(content)
        for _ in range(self.draw.randint(1, times)):
            start = self.draw.randrange(len(changed) + 1)
            stop = start + self.draw.choice((0, 1, 1, 2, 4, 8, 64, len(changed)))
            kind = 4 if bits_only else self.draw.randrange(5)
            if kind == 0:
                changed[start:stop] = b""
            elif kind == 1:
                changed[start:start] = self.draw.choice(BYTES)
            elif kind == 2:
                changed[start : start + 1] = self.draw.choice(BYTES)
            elif kind == 3:
                changed[start:start] = changed[start:stop][:64]
            elif start < len(changed):
                changed[start] ^= 1 << self.draw.randrange(8)
        return bytes(changed)

    def _change(self, row: dict[str, Any]) -> None:
        """Change one thing: a key, a value, a type, the depth."""
        places = _places(row)
        if not places:
            row[self.draw.choice(FIELDS)] = self.draw.choice(TEXTS)
            return
        container, key = self.draw.choice(places)
        kind = self.draw.randrange(6)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[self.draw.choice((*FIELDS, *TEXTS))] = container.pop(key)
        elif kind == 2 and isinstance(container, dict):
            container[self.draw.choice(FIELDS)] = self._value()
        elif kind == 3 and isinstance(container, list):
            container.insert(key, deepcopy(self.draw.choice((ASK, SAY, container[key]))))
        else:
            container[key] = self._other(container[key])

    def _other(self, value: Any) -> Any:
        kind = self.draw.randrange(4)
        if kind == 0 and isinstance(value, str):
            return self.draw.choice((value, "")) + self.draw.choice(TEXTS) + self.draw.choice(TEXTS)
        if kind == 1:
            return MARK.format(self.draw.randrange(len(FRAGMENTS)))
        if kind == 2:
            return self.draw.choice(([value], {"content": value}, [value, deepcopy(value)]))
        return self._value()

    def _written(self, content: dict[str, Any]) -> bytes:
        text = json.dumps(content, ensure_ascii=self.draw.random() < 0.5).encode(errors="surrogatepass")
        for number, fragment in enumerate(FRAGMENTS):
            text = text.replace(json.dumps(MARK.format(number)).encode(), fragment)
        return text

    def _value(self) -> Any:
        return deepcopy(self.draw.choice((*TEXTS, *VALUES)))


def shrink(found: Input, fails: Callable[[Input], bool], tries: int = 400) -> Input:
    """Return a small part of `found` for which `fails` still holds: pieces are left out, ever smaller ones."""
    size = max(1, len(found) // 2)
    while tries and found:
        for start in range(0, len(found), size):
            tries -= 1
            less = found[:start] + found[start + size :]
            if not tries or fails(less):
                found = less if tries else found
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container in the value with each of its keys or indexes, outer ones first."""
    found, waiting = [], [value]
    while waiting and len(found) < 300:
        container = waiting.pop(0)
        keys = list(container) if isinstance(container, dict) else range(len(container))
        found += [(container, key) for key in keys]
        waiting += [container[key] for key in keys if isinstance(container[key], dict | list)]
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(Mutator(*map(int, sys.argv[1:3])).row() + b"\n")
