"""What the Hugging Face hub lists of a file, and whether a download is that file."""

import hashlib
from pathlib import Path
from typing import Any

from ollamake.files import BLOCK_BYTES, sha256

Facts = dict[str, Any]


def facts_of(file: Any) -> Facts:
    """Return the `size` of a RepoSibling in bytes, and its digest: `sha256` of a large file, `blob` of a small one.

    `blob` is the id that git gives to the content. Raises ValueError where the hub lists neither, as a mirror may.
    """
    if file.lfs:
        return {"size": file.lfs.size, "sha256": file.lfs.sha256}
    if file.size is None or file.blob_id is None:
        raise ValueError("what answered lists no sizes and digests")
    return {"size": file.size, "blob": file.blob_id}


def is_whole(path: Path, facts: Facts) -> bool:
    """Tell whether the file is there and is the one that the hub lists."""
    if not path.is_file() or path.stat().st_size != facts["size"]:
        return False
    found = sha256(path) if "sha256" in facts else _blob_id(path)
    return found in (facts.get("sha256"), facts.get("blob"))


def _blob_id(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
