"""What `base_model` names: a catalog entry, a hub id, a local folder, a GGUF file or a model that Ollama has pulled."""

import re
from pathlib import Path

from ollamake.errors import BaseModelError
from ollamake.ollama.names import check_name, listed_name
from ollamake.resolve.catalog import CATALOG, Entry, close_names, find
from ollamake.resolve.folder import LocalFolder
from ollamake.resolve.gguf_import import LocalGguf
from ollamake.resolve.hub import HubModel
from ollamake.resolve.ollama_model import OllamaModel
from ollamake.resolve.source import Source
from ollamake.resolve.template import TEMPLATES

PINNED = "pinned"
OLLAMA = "ollama:"
DIGEST = re.compile("sha256:[0-9a-f]{64}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WHERE = "params.yaml, base_model"


def parse(
    base_model: str, revision: str, catalog: dict[str, Entry], root: Path, *, needs_template: bool = True
) -> Source:
    """Return the source that `base_model` names; relative paths start at the workspace, then at `root`.

    Raises BaseModelError for a name that fits nothing, with the known names most like it.
    """
    wanted = None if revision == PINNED else revision
    if base_model.startswith(OLLAMA):
        return _in_ollama(base_model.removeprefix(OLLAMA), wanted, catalog)
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


def _in_ollama(tag: str, revision: str | None, catalog: dict[str, Entry]) -> Source:
    try:
        name = listed_name(check_name(tag))
    except ValueError as error:
        raise BaseModelError(
            f"{OLLAMA}{tag}: a model in Ollama {error}", where=WHERE, hint="`ollama list` shows the names"
        ) from error
    if revision and not DIGEST.fullmatch(revision):
        raise BaseModelError(
            f"a model in Ollama has no revision {revision}",
            where="params.yaml, base_model_revision",
            hint=f"set it to {PINNED}, or to the digest of the GGUF (sha256:…), as models/base.json has it",
        )
    # Other quantizations of the same model have longer tags: llama3.2:1b-instruct-q4_K_M.
    return OllamaModel(tag, revision, find(name, catalog) or find(name.partition("-instruct")[0], catalog))


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
    problem = f"{base_model!r} is no name in {CATALOG}, no hub id (org/name), no folder and no .gguf file"
    close = close_names(base_model, catalog)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return BaseModelError(problem, where=WHERE, hint=f"{meant}{CATALOG} has the names")
