"""How training wrote a conversation: the text, the token ids, and the tokens at both ends."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer

from ollamake.base import Base
from ollamake.chat import ChatTemplate, Message
from ollamake.errors import ParityError
from ollamake.files import read_json

MARK = "MARKED-TEXT"  # letters and a hyphen: no template changes it, no tokenizer joins it with what follows


def without_clock(template: str) -> str:
    """Return a Jinja template that finds no clock where it asks for one (Llama 3.2), and so takes its fixed date.

    Training rendered without a clock; a server has one, and would send another prompt every day.
    """
    return template.replace("strftime_now", "no_strftime_now")


@dataclass(frozen=True)
class Prompts:
    """The prompt side of a base model; `end_ids` are the token ids at which generation stops."""

    template: ChatTemplate
    tokenizer: Any
    end_ids: frozenset[int]

    @classmethod
    def of(cls, base: Base) -> "Prompts":
        """Read template, tokenizer and end tokens of `base`."""
        tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
        # Some tokenizer.json files carry a truncation or padding from their training: it would change prompts unseen.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(ChatTemplate.of(base.folder), tokenizer, base.end_ids)

    def text(self, messages: Sequence[Message]) -> str:
        """Return the generation prompt. Raises jinja2.TemplateError where the template refuses the conversation."""
        return self.template.render(messages, add_generation_prompt=True)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of `text` as training had them: the special tokens it spells out, and no others."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def plain(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without control tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def texts(self, conversations: dict[str, list[Message]]) -> dict[str, str]:
        """Return the prompts of those conversations that the template accepts. Raises ParityError for none."""
        rendered = {}
        for name, messages in conversations.items():
            try:
                rendered[name] = self.text(messages)
            except TemplateError:  # "System role not supported": nothing that training could have seen either
                continue
        if not rendered:
            raise ParityError("the chat template refuses every conversation", where="chat_template.jinja")
        return rendered

    @cached_property
    def composes(self) -> bool:
        """Whether the tokenizer joins a letter with the accent behind it (NFC), as Qwen's do and llama.cpp does not."""
        normalizer = self.tokenizer.normalizer if self.tokenizer else None
        return normalizer is not None and "\u00e9" in normalizer.normalize_str("e\u0301")

    def composed(self, text: str) -> str:
        """Return `text` as far as a server can be expected to read it as training did: in NFC, if the tokenizer is."""
        return unicodedata.normalize("NFC", text) if self.composes else text

    def readable(self, conversations: dict[str, list[Message]]) -> dict[str, list[Message]]:
        """Return the conversations with every text `composed`."""
        return {
            name: [{**message, "content": self.composed(message["content"])} for message in messages]
            for name, messages in conversations.items()
        }

    @cached_property
    def control_tokens(self) -> list[str]:
        """The texts of the special tokens, by id."""
        added = self.tokenizer.get_added_tokens_decoder()
        return [added[number].content for number in sorted(added) if added[number].special]

    @cached_property
    def bos(self) -> str:
        """The BOS token that the template opens every prompt with, which a server adds by itself; empty if it does not.

        A BOS that the template merely spells out counts as text: SmolLM2's is `<|im_start|>`, with which each of its
        messages begins, and a server must not add another.
        """
        tokens = dict(self.template.special_tokens)
        marked = ChatTemplate(self.template.source, tuple({**tokens, "bos_token": MARK}.items()))
        opened = marked.render([{"role": "user", "content": "?"}], add_generation_prompt=True).startswith(MARK)
        return tokens.get("bos_token", "") if opened else ""

    @cached_property
    def end_of_turn(self) -> str:
        """The text of the one token that ends an answer. Raises ParityError where no end token follows an answer."""
        question, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}
        after = self.template.render([question, answer]).partition(MARK)[2]
        ends = [number for number in self.ids(after) if number in self.end_ids]
        if not ends:
            raise ParityError(
                f"the chat template writes {after!r} after an answer, none of which is a token at which the model "
                f"stops ({sorted(self.end_ids)})",
                where="chat_template.jinja",
                hint="correct eos_token_id in the base model's generation_config.json, then `dvc repro`",
            )
        text: str = self.tokenizer.id_to_token(ends[0])
        return text

    @cached_property
    def default_system(self) -> str:
        """The system text that the template puts before a conversation without one; empty if it puts none."""
        user = {"role": "user", "content": "?"}
        try:
            before, _, after = self.text([{"role": "system", "content": MARK}, user]).partition(MARK)
        except TemplateError:
            return ""
        without = self.text([user])
        if without.startswith(before) and without.endswith(after) and len(before) + len(after) <= len(without):
            return without[len(before) : len(without) - len(after)]
        return ""


def special_id(folder: Path, kind: str) -> int | None:
    """Return the id of a model's `bos` or `eos` token as its tokenizer names it, else as its config does."""
    token = read_json(folder / "tokenizer_config.json").get(f"{kind}_token")
    text = token.get("content") if isinstance(token, dict) else token
    if text:
        added = read_json(folder / "tokenizer.json")["added_tokens"]
        return next((int(entry["id"]) for entry in added if entry["content"] == text), None)
    number = read_json(folder / "config.json").get(f"{kind}_token_id")
    return number if isinstance(number, int) else None
