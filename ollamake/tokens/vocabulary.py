"""The base model's tokenizer, its control tokens, and which tokens of a text are those of its beginning."""

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from pathlib import Path

from tokenizers import Tokenizer


@dataclass(frozen=True)
class Tokens:
    """A text and its token ids; `seams` are the (character, token) places at which it can be cut, ascending."""

    text: str
    ids: list[int]
    seams: list[tuple[int, int]]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that reads the control tokens a text spells out, and adds none of its own.

    It finds control tokens before anything else happens to a text, so a text has the tokens of its segments, each from
    one control token to the next. The same segments come again and again (system prompt, `assistant` and a newline),
    and are encoded once.
    """

    tokenizer: Tokenizer

    @classmethod
    def of(cls, folder: Path) -> "Vocabulary":
        """Read the tokenizer of a Hugging Face folder."""
        # Every core has a process of its own already.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # Some tokenizer.json files carry a truncation or padding from their training, which would change rows unseen.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of many texts at once, which costs less than one by one."""
        starts = [self._starts(text) for text in texts]
        segments = [_cut(text, places) for text, places in zip(texts, starts, strict=True)]
        different = list(dict.fromkeys(chain.from_iterable(segments)))
        encodings = self.tokenizer.encode_batch_fast(different, add_special_tokens=False)
        known = {segment: encoding.ids for segment, encoding in zip(different, encodings, strict=True)}
        return [
            _joined(text, places, [known[segment] for segment in cut])
            for text, places, cut in zip(texts, starts, segments, strict=True)
        ]

    def ids(self, text: str) -> list[int]:
        """Return the token ids of one text."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prefix_length(self, tokens: Tokens, prefix: str) -> int | None:
        """Return how many tokens `prefix` has, or None when these are not the first of `tokens`."""
        if tokens.text.startswith(prefix):
            # Up to its last seam the prefix has the same tokens as the text.
            character, place = tokens.seams[max(bisect_left(tokens.seams, (len(prefix), 0)) - 1, 0)]
            rest = self._short_ids(prefix[character:])
            if tokens.ids[place : place + len(rest)] == rest:
                return place + len(rest)
        ids = self.ids(prefix)
        return len(ids) if tokens.ids[: len(ids)] == ids else None

    def control_ids_in(self, ids: Sequence[int], end_ids: frozenset[int] = frozenset()) -> list[int]:
        """Return the ids that are control tokens, in their order; `end_ids` are, whatever the tokenizer says."""
        control_ids = self._control_ids
        return [number for number in ids if number in control_ids or number in end_ids]

    @cached_property
    def _short_ids(self) -> Callable[[str], list[int]]:
        return lru_cache(maxsize=64)(self.ids)

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        model, added = self.tokenizer.model, self.tokenizer.get_added_tokens_decoder()
        # Without bytes to fall back on, rare characters become the unknown token.
        ordinary = None if getattr(model, "byte_fallback", False) else getattr(model, "unk_token", None)
        return frozenset(number for number, token in added.items() if token.special and token.content != ordinary)

    @cached_property
    def _found_first(self) -> re.Pattern[str]:
        """The added tokens that are found in the text as it is; one that begins earlier, or is longer, wins."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return _any_of(token.content for token in added if not token.normalized)

    @cached_property
    def _opening(self) -> frozenset[str]:
        """Those that a segment can begin with: they leave what stands before them alone, whatever stands around."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return frozenset(
            token.content
            for token in added
            if token.special and not (token.normalized or token.lstrip or token.single_word)
        )

    def _starts(self, text: str) -> list[int]:
        opening = self._opening
        found = [match.start() for match in self._found_first.finditer(text) if match.group() in opening]
        return found if found and not found[0] else [0, *found]


def _cut(text: str, places: list[int]) -> list[str]:
    return [text[start:end] for start, end in zip(places, [*places[1:], len(text)], strict=True)]


def _joined(text: str, places: list[int], segments: list[list[int]]) -> Tokens:
    ids = list(chain.from_iterable(segments))
    return Tokens(text, ids, list(zip(places, accumulate(map(len, segments[:-1]), initial=0), strict=True)))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    # The longest first, as the tokenizer takes them; (?!) matches nothing, for a tokenizer without any.
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")
