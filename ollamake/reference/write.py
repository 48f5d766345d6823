"""docs/reference and the picture of the README, written from what they speak of: they cannot say anything else."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ollamake.files import atomic_write
from ollamake.reference import cli, metrics, params, picture

FOLDER, PICTURE = Path("docs/reference"), Path("docs/result.svg")
PAGES: Mapping[Path, Callable[[], str]] = {
    FOLDER / "params.md": params.page,
    FOLDER / "cli.md": cli.page,
    FOLDER / "metrics.md": metrics.page,
    PICTURE: picture.picture,
}


def write_reference() -> list[Path]:
    """Write the pages that have changed; return them."""
    changed = []
    for path, page in PAGES.items():
        text = page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with atomic_write(path) as partial:
                partial.write_text(text, encoding="utf-8", newline="")
            changed.append(path)
    return changed
