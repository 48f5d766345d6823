"""Chat templates: the one rendering of a conversation that training, scoring and the parity proof share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ollamake.errors import BaseModelError
from ollamake.files import read_json

Message = dict[str, str]


def with_system(messages: Sequence[Message], system_prompt: str) -> list[Message]:
    """Put `system_prompt`, if there is one, before a conversation without its own, as Ollama does with SYSTEM."""
    if not system_prompt or messages[0]["role"] == "system":
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja chat template with the special tokens it may name.

    Renders as `transformers` does (trim_blocks, lstrip_blocks, loop controls, immutable sandbox), without importing
    it. There is no `strftime_now`: templates that print today's date fall back to their fixed one, so that the same
    data gives the same tokens tomorrow.
    """

    source: str
    special_tokens: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, folder: Path) -> "ChatTemplate":
        """Read the template of a Hugging Face folder. Raises BaseModelError when it has none."""
        path = folder / "chat_template.jinja"
        if not path.is_file():
            raise BaseModelError(
                "the base model has no chat template", where=str(path), hint="name its instruct variant in base_model"
            )
        return cls(path.read_text(encoding="utf-8"), special_tokens(folder))

    @cached_property
    def _compiled(self) -> Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals["raise_exception"] = _refuse
        template = environment.from_string(self.source)
        # Jinja copies the globals at every rendering; from the ChainMap it keeps them in, that is a third of the time.
        template.globals = dict(template.globals)
        return template

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Return the text of the conversation. Raises jinja2.TemplateError where the template refuses it."""
        return self._compiled.render(
            messages=list(messages), add_generation_prompt=add_generation_prompt, **dict(self.special_tokens)
        )


def special_tokens(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return the special tokens that the tokenizer in `folder` names, as (`eos_token`, text) and the like."""
    config = read_json(folder / "tokenizer_config.json")
    tokens = [(key, _text(config.get(key))) for key in ("bos_token", "eos_token", "unk_token", "pad_token")]
    return tuple((key, text) for key, text in tokens if text)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _text(token: Any) -> str:
    return token.get("content", "") if isinstance(token, dict) else token or ""
