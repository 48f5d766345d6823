"""What `base_model` names: a catalog entry, a hub id, a local folder or a GGUF file."""

import re
from pathlib import Path

from ollamake.errors import BaseModelError
from ollamake.resolve.catalog import CATALOG, Entry, close_names, find
from ollamake.resolve.folder import LocalFolder
from ollamake.resolve.gguf_import import LocalGguf
from ollamake.resolve.hub import HubModel
from ollamake.resolve.source import Source
from ollamake.resolve.template import TEMPLATES

PINNED = "pinned"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WHERE = "params.yaml, base_model"


def parse(
    base_model: str, revision: str, catalog: dict[str, Entry], root: Path, *, needs_template: bool = True
) -> Source:
    """Return the source that `base_model` names; relative paths start at the workspace, then at `root`.

    Raises BaseModelError for a name that fits nothing, with the known names most like it.
    """
    wanted = None if revision == PINNED else revision
    if entry := find(base_model, catalog):
        name, facts = entry
        if needs_template:
            _only_with_chat_template(name, facts)
        return HubModel(name, facts.hub_id, wanted or facts.revision, facts)
    path = _existing(base_model, root)
    if path or _looks_like_path(base_model):
        _only_pinned(base_model, wanted)
        return _local(base_model, path)
    if HUB_ID.fullmatch(base_model):
        return HubModel(base_model, base_model, wanted, None)
    raise _unknown(base_model, catalog)


def _existing(base_model: str, root: Path) -> Path | None:
    try:
        typed = Path(base_model).expanduser()
        # A temporary copy of an experiment lacks the files that git does not know; the original workspace has them.
        return next((path for path in (typed, root / typed) if path.exists()), None)
    except (OSError, RuntimeError) as error:  # a closed folder on the way; ~someone where there is no such user
        raise BaseModelError(
            f"{base_model} cannot be looked at: {error}",
            where=WHERE,
            hint="check the path, and who may enter the folders on the way (`namei -l` shows it)",
        ) from error


def _looks_like_path(base_model: str) -> bool:
    return base_model.startswith(("/", "./", "../", "~")) or base_model.endswith(".gguf")


def _local(base_model: str, path: Path | None) -> Source:
    if path and path.is_dir():
        return LocalFolder(path)
    if path and path.suffix == ".gguf" and path.is_file():
        return LocalGguf(path)
    problem = "is neither a folder nor a .gguf file" if path else "does not exist"
    raise BaseModelError(
        f"{base_model} {problem}", where=WHERE, hint="give the path of a model folder or of a .gguf file"
    )


def _only_with_chat_template(name: str, entry: Entry) -> None:
    if entry.chat_format == "none":
        raise BaseModelError(
            f"{name} ({entry.hub_id}) has no chat template of its own",
            where=WHERE,
            hint=f"take an entry of {CATALOG} whose chat_format is not none, or set chat_template to the name of a "
            f".jinja file in {TEMPLATES}",
        )


def _only_pinned(base_model: str, revision: str | None) -> None:
    if revision:
        raise BaseModelError(
            f"{base_model} is a local path, which has no revision {revision}",
            where="params.yaml, base_model_revision",
            hint=f"set it to {PINNED}",
        )


def _unknown(base_model: str, catalog: dict[str, Entry]) -> BaseModelError:
    if base_model.startswith("ollama:"):
        problem = f"{base_model}: a model of the Ollama library cannot be the base yet"
    else:
        problem = f"{base_model!r} is no name in {CATALOG}, no hub id (org/name), no folder and no .gguf file"
    close = close_names(base_model.removeprefix("ollama:"), catalog)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return BaseModelError(problem, where=WHERE, hint=f"{meant}{CATALOG} has the names")
