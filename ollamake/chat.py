"""Chat templates: the one rendering of a conversation that training, scoring and the parity proof share.

A template comes from a stranger, and Jinja's sandbox keeps it from this machine's objects, not from its time and
memory. Fetch tries it out in a process of its own; but one that is cheap there can explode on certain conversations.
So every rendering has limits, which the system enforces: a list of what is dangerous in Jinja would never be complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ollamake import limits
from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.limits import OutOfTimeError, within_limits

Message = dict[str, str]

# What a template may write around a conversation, and how often it may repeat what was said.
ADDED_CHARACTERS, TIMES_SAID = 100_000, 16
SHOWN_CHARACTERS = 60
# For llama.cpp, which runs the template of a file as soon as it loads it, and without limits: one of nobody's.
HARMLESS = "{{ messages[0].content }}"


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
        """Return the text of the conversation. Raises jinja2.TemplateError where the template refuses it.

        Raises BaseModelError when that takes more time or memory than any conversation needs, or when the text is far
        longer than what was said.
        """
        try:
            text = within_limits(lambda: self.render_unlimited(messages, add_generation_prompt=add_generation_prompt))
        except OutOfTimeError as error:
            raise _explosion(f"takes more than {limits.SECONDS} seconds to render", messages) from error
        except MemoryError as error:
            raise _explosion(f"needs more than {limits.ADDED_BYTES >> 20:,} MB to render", messages) from error
        if len(text) > ADDED_CHARACTERS and len(text) > ADDED_CHARACTERS + TIMES_SAID * _characters(messages):
            raise _explosion(f"makes {len(text):,} characters of", messages)
        return text

    def render_unlimited(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False, **others: Any
    ) -> str:
        """Return what `render` does, in a process that has limits of its own; `others` are more of its variables."""
        given = {"messages": list(messages), "add_generation_prompt": add_generation_prompt, **self._named_tokens}
        given.update(others)
        # As Template.render does it, which copies what it is given twice.
        return "".join(self._compiled.root_render_func(self._compiled.new_context(given)))

    @cached_property
    def _named_tokens(self) -> dict[str, str]:
        return dict(self.special_tokens)


def special_tokens(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return the special tokens that the tokenizer in `folder` names, as (`eos_token`, text) and the like."""
    config = read_json(folder / "tokenizer_config.json")
    tokens = [(key, _text(config.get(key))) for key in ("bos_token", "eos_token", "unk_token", "pad_token")]
    return tuple((key, text) for key, text in tokens if text)


def _explosion(what: str, messages: Sequence[Message]) -> BaseModelError:
    said = messages[-1]["content"] if messages else ""
    return BaseModelError(
        f"the chat template {what} a conversation that ends with {said[:SHOWN_CHARACTERS]!r}",
        where="chat_template.jinja",
        hint="take it out of the data, or set chat_template to the name of another template in models/templates",
    )


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
