"""What can be found wrong before the first stage starts, in kinder words than DVC has for it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ollamake.data.location import refuse_replaced
from ollamake.data.rows import require_file
from ollamake.errors import DataError


def check(content: Mapping[str, Any]) -> None:
    """Raise DataError where `data_source` cannot be read, or would be deleted by the build."""
    source = Path(content["data_source"])
    try:
        source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            "there is no such file",
            where=str(source),
            hint="data_source in params.yaml names your data, or a recipe such as data/sources/command-line.yaml",
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot be looked at: {error.strerror}",
            where=str(source),
            hint=f"`namei -l {source}` shows which folder on the way is closed",
        ) from error
    refuse_replaced(content["data_source"])
    if not os.access(source, os.R_OK):
        raise DataError("this file cannot be read", where=str(source), hint=f"`chmod +r {source}`")
    if source.suffix == ".jsonl":
        require_file(source)
