"""How DVC's cache lies to the workspace: where it is, and by which links its files stand in both."""

import errno
import os
import tempfile
from pathlib import Path

from ollamake.doctor.finding import Verdict, failure, fine, warning
from ollamake.doctor.subject import Subject

ONLY_COPY = "`dvc config --local cache.type reflink,copy && dvc checkout --relink`"


def links(subject: Subject) -> Verdict:
    """Find the link that DVC would take, by trying, and what is wrong with it here."""
    cache, types = subject.cache, subject.link_types
    usable = [kind for kind in types if works(kind, cache, subject.root)]
    if not usable:
        return failure(
            f"no link type of cache.type ({', '.join(types)}) works between {cache} and here: `dvc checkout` fails",
            "`dvc config --local cache.type reflink,hardlink,copy`",
        )
    link, elsewhere = usable[0], device(cache) != device(subject.root)
    if link == "copy" and elsewhere:
        return warning(
            f"the cache is on another disk ({cache}), so every output stands on both",
            "`dvc config --local cache.type symlink && dvc checkout --relink`, or `dvc cache dir` on this disk",
        )
    if link in ("hardlink", "symlink") and os.geteuid() == 0:
        return warning(
            f"outputs are {link}s into the cache, and root may write through them, which damages the cache unseen",
            f"edit no output in place; or {ONLY_COPY}; or work as another user",
        )
    return fine(f"{link}s between workspace and {cache}" if link != "copy" else f"copies, in {cache}")


def works(kind: str, cache: Path, workspace: Path) -> bool:
    """Tell whether a file in the cache can be linked into the workspace this way."""
    if kind == "copy":
        return True
    from dvc_objects.fs.system import hardlink, reflink, symlink

    make = {"hardlink": hardlink, "reflink": reflink, "symlink": symlink}[kind]
    here = workspace / ".dvc/tmp"  # which git ignores, as it does the cache
    here.mkdir(exist_ok=True)
    there = cache if cache.is_dir() or device(cache) != device(here) else here
    with tempfile.TemporaryDirectory(dir=existing(there)) as source, tempfile.TemporaryDirectory(dir=here) as target:
        file = Path(source) / "file"
        file.write_bytes(b"x" * 4096)
        try:
            make(str(file), str(Path(target) / "link"))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
    return True


def existing(path: Path) -> Path:
    """Return the nearest folder of `path` that is there."""
    return next(folder for folder in [path.absolute(), *path.absolute().parents] if folder.is_dir())


def device(path: Path) -> int:
    """Return the number of the file system that `path` is on, or would be."""
    return existing(path).stat().st_dev
