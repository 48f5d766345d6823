"""Where the user's data must not lie: in a folder that a stage replaces whole."""

import os.path
from pathlib import Path

from ollamake.errors import DataError

REPLACED = ("data/raw", "data/prepared", "data/tokenized")


def refuse_replaced(data_source: str) -> None:
    """Raise DataError when `data_source` lies in a folder that the build replaces, and would be deleted with it."""
    path = Path(os.path.realpath(data_source))  # unlike Path.resolve, it never raises
    for folder in REPLACED:
        if path.is_relative_to(os.path.realpath(folder)):
            raise DataError(
                f"lies in {folder}, which every build replaces: your data would be deleted",
                where=data_source,
                hint="put it elsewhere, `mv` it to data/ for one, and name it there in data_source in params.yaml",
            )
