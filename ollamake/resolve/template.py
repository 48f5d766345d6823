"""The chat template of the base model: its own, or the one in models/templates that `chat_template` names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError

TEMPLATES = Path("models/templates")
OWN = "model"
FILE = "chat_template.jinja"
WHERE = "params.yaml, chat_template"


@dataclass(frozen=True)
class NamedTemplate:
    """A template of models/templates."""

    name: str
    text: str

    @property
    def where(self) -> str:
        """The file that a person would correct."""
        return str(TEMPLATES / f"{self.name}.jinja")


def named_template(chat_template: str) -> NamedTemplate | None:
    """Return the template that `chat_template` names, None for the model's own. Raises BaseModelError without one."""
    if chat_template == OWN:
        return None
    name = chat_template.removesuffix(".jinja")
    known = sorted(file.stem for file in TEMPLATES.glob("*.jinja"))
    if name not in known:
        raise BaseModelError(
            f"there is no {name}.jinja in {TEMPLATES}",
            where=WHERE,
            hint=f"{TEMPLATES} has {', '.join(known) or 'no template'}; `{OWN}` is the base model's own",
        )
    try:
        return NamedTemplate(name, (TEMPLATES / f"{name}.jinja").read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BaseModelError(
            f"cannot be read as UTF-8 text: {error}", where=str(TEMPLATES / f"{name}.jinja"), hint="write it again"
        ) from error


def own_template(folder: Path, tokenizer_config: dict[str, Any], where: str) -> str:
    """Return the chat template, from its own file or from tokenizer_config.json. Raises BaseModelError without one."""
    path, template = folder / FILE, tokenizer_config.get("chat_template")
    if path.is_file():
        template = path.read_bytes().decode("utf-8", errors="replace")
    if isinstance(template, list):  # named templates: [{"name": "default", "template": ...}, ...]
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[-1].get("template") if named else None
    if not template or not isinstance(template, str):
        raise without_template(where)
    return template


def without_template(where: str) -> BaseModelError:
    """Return the error for a base model that cannot chat."""
    return BaseModelError(
        "the base model has no chat template",
        where=where,
        hint=f"set base_model to its instruct variant, or chat_template to the name of a .jinja file in {TEMPLATES}",
    )


def try_out(template: str, folder: Path, where: str, hint: str = "") -> None:
    """Render `template` for the first time, with the special tokens of `folder`, where it can do no harm.

    Raises BaseModelError for one of no use.
    """
    from ollamake.chat import ChatTemplate, special_tokens
    from ollamake.resolve.trial import find_problem

    if problem := find_problem(ChatTemplate(template, special_tokens(folder))):
        raise BaseModelError(
            f"the chat template {problem}",
            where=where,
            hint=hint or f"set chat_template to the name of a .jinja file of your own in {TEMPLATES}",
        )
