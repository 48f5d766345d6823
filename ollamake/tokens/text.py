"""From a text to rows in which every token carries loss (continued pre-training)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from ollamake.chat import special_tokens
from ollamake.errors import BaseModelError
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.row import CONTROL, EMPTY, Row
from ollamake.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class TextEncoder:
    """Turns texts into rows of at most `max_length` tokens; each text ends with the token `end_id`."""

    vocabulary: Vocabulary
    end_id: int
    max_length: int

    @classmethod
    def of(cls, folder: Path, vocabulary: Vocabulary, max_length: int) -> "TextEncoder":
        """Take the end token that the tokenizer in `folder` names. Raises BaseModelError when it names none."""
        end_id = vocabulary.tokenizer.token_to_id(dict(special_tokens(folder)).get("eos_token", ""))
        if end_id is None:
            raise BaseModelError(
                "the tokenizer names no end token, so that texts would run into each other",
                where=str(folder / "tokenizer_config.json"),
                hint="name its eos_token there",
            )
        return cls(vocabulary, end_id, max_length)

    def encode(self, texts: Sequence[str]) -> Iterator[list[Row | str]]:
        """Yield the rows of each text, or the reason why there are none."""
        for tokens in self.vocabulary.encode(texts):
            if self.vocabulary.control_ids_in(tokens.ids, frozenset([self.end_id])):
                yield [CONTROL]
            elif not tokens.ids:
                yield [EMPTY]
            else:
                ids = [*self._begin_ids, *tokens.ids, self.end_id]
                yield list(consecutive_rows(ids, self.max_length, self.vocabulary.tokenizer))

    @cached_property
    def _begin_ids(self) -> list[int]:
        """What the tokenizer puts before every text: nothing, or its BOS."""
        bare = self.vocabulary.ids("a")
        dressed: list[int] = self.vocabulary.tokenizer.encode("a", add_special_tokens=True).ids
        return dressed[: dressed.index(bare[0])]


def consecutive_rows(ids: list[int], max_length: int, tokenizer: Tokenizer) -> Iterator[Row]:
    """Yield rows of at most `max_length` tokens in which every token carries loss; their prompt is their first half.

    Nothing predicts the first token of a row. Each row therefore begins with the last token of the one before, so that
    every token but the very first is learnt once.
    """
    for start in range(0, len(ids) - 1, max_length - 1):
        piece = ids[start : start + max_length]
        half = len(piece) // 2
        prompt, reference = tokenizer.decode_batch([piece[:half], piece[half:]])
        yield Row(piece, [IGNORE_INDEX, *piece[1:]], half, prompt, reference)
