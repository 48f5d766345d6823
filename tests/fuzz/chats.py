"""Conversations that spell control tokens, through the templates and tokenizers of eight families, into rows."""

from pathlib import Path

from ollamake.chat import ChatTemplate, Message
from ollamake.files import read_json
from ollamake.tokens.encode import Encoder
from ollamake.tokens.vocabulary import Vocabulary
from tests.faults.mutation import TEXTS, Mutator
from tests.golden.families import FAMILIES, write_family

WORDS = (
    "a",
    " word",
    "\n",
    "9",
    "é",
    "世",
    "<|",
    "|>",
    "im_end",
    "[",
    "INST]",
    "</",
    "s>",
    "▁",
    "<0x41>",
    "\u200b",
    "<unk>",
)


class Chats:
    """Encodes conversations; a control token that was typed is never one in the row, and the row is what is served."""

    def __init__(self, folder: Path) -> None:
        self._encoders = []
        for name in FAMILIES:
            made = write_family(name, folder / name)
            ends = frozenset(read_json(made / "generation_config.json")["eos_token_id"])
            vocabulary = Vocabulary.of(made)
            self._encoders.append(
                Encoder(ChatTemplate.of(made), vocabulary, ends, "", max_length=4096, too_long="drop")
            )

    def __call__(self, seed: int, number: int) -> str:
        """Return what became of a conversation in a word."""
        mutator, encoder = Mutator(seed, number), self._encoders[number % len(self._encoders)]
        added = encoder.vocabulary.tokenizer.get_added_tokens_decoder().values()
        controls = [token.content for token in added if token.special]
        turns = ("user", "assistant") * mutator.draw.randint(1, 3)
        messages = [{"role": role, "content": self._text(mutator, controls)} for role in turns]
        [[row]] = [rows[-1:] for rows in encoder.encode([messages])]
        if isinstance(row, str):
            return f"left out: {row.partition(':')[0]}"
        self._hold(encoder, messages, row.input_ids)
        return "a row"

    def _text(self, mutator: Mutator, controls: list[str]) -> str:
        """Return a text as prepare leaves it, with a control token in one of three."""
        draw = mutator.draw
        usual = [text for text in TEXTS if len(text) < 1000 and text.isprintable() and text[:1] not in "<["]
        pieces = draw.choices((*WORDS, *usual), k=draw.randint(1, 5))
        if draw.random() < 0.3:
            pieces.insert(draw.randrange(len(pieces) + 1), draw.choice(controls))
        return "".join(pieces).strip() or "x"

    def _hold(self, encoder: Encoder, messages: list[Message], ids: list[int]) -> None:
        text = encoder.template.render(messages)
        assert ids == encoder.vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
        plain = encoder.template.render([{**message, "content": "x"} for message in messages])
        expected = encoder.vocabulary.tokenizer.encode(plain, add_special_tokens=False).ids
        written = [encoder.vocabulary.control_ids_in(found, encoder.end_ids) for found in (ids, expected)]
        assert written[0] == written[1]
