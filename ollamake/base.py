"""The base model as every later stage sees it: a clean Hugging Face folder in a store outside the graph.

The weights are no DVC output: the temporary copies of `dvc exp run --queue` check out all DVC data, used or not. They
live once under `$DVC_ROOT/.ollamake/base/<key>`, and `models/base.json` pins them by the sha256 of each file.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import read_json, sha256

RECORD = Path("models/base.json")


def store() -> Path:
    """Return the store's folder, shared by the workspace and the temporary copies of experiments."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".ollamake"


@dataclass(frozen=True)
class Base:
    """A base model in the store.

    `record` is the content of models/base.json: `name`, `source`, `revision`, `license`, `architecture`, `key`,
    `files` (name to sha256), and `chat_template` where that is one of models/templates. `folder` holds config.json,
    *.safetensors, tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json.
    """

    folder: Path
    record: dict[str, Any]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        content: dict[str, Any] = read_json(self.folder / "config.json")
        return content

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The token ids at which an answer ends: those of generation_config.json, and the tokenizer's own."""
        listed = read_json(self.folder / "generation_config.json").get("eos_token_id")
        named = read_json(self.folder / "tokenizer_config.json").get("eos_token")
        text = named["content"] if isinstance(named, dict) else named
        added = read_json(self.folder / "tokenizer.json")["added_tokens"]
        own = {token["id"] for token in added if token["content"] == text}
        return frozenset([listed] if isinstance(listed, int) else listed or []) | own

    @property
    def context_length(self) -> int:
        """The longest sequence the model was made for, in tokens."""
        return int(self.config["max_position_embeddings"])

    @property
    def weights_bytes(self) -> int:
        """The size of the weights on disk."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def open_base(record_path: Path = RECORD) -> Base:
    """Return the base model that `models/base.json` pins.

    Raises BaseModelError when the store does not hold it, or holds other files than the pinned ones. The weights only
    have to be there: they were hashed when they came in, and hashing gigabytes again would hold every stage up.
    """
    record = read_json(record_path)
    folder = store() / "base" / record["key"]
    missing = [name for name in record["files"] if not (folder / name).is_file()]
    if missing:
        raise _other_store(f"the store lacks {', '.join(missing[:3])} of base model {record['name']}", folder)
    if changed := changed_files(folder, record["files"]):
        raise _other_store(
            f"{', '.join(changed[:3])} of base model {record['name']} in the store: not what {record_path} pins", folder
        )
    return Base(folder, record)


def changed_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Return the names of the files, weights left out, whose sha256 is another than the one in `files`."""
    small = {name: digest for name, digest in files.items() if not name.endswith(".safetensors")}
    return [name for name, digest in small.items() if sha256(folder / name) != digest]


def _other_store(problem: str, folder: Path) -> BaseModelError:
    return BaseModelError(problem, where=str(folder), hint="`dvc repro --force --single-item fetch` brings it back")
