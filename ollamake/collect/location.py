"""Where the user's data lies, and where it must not: in a folder that a stage replaces whole."""

import os.path
import re
from pathlib import Path

from ollamake.errors import DataError

REPLACED = ("data/raw", "data/prepared", "data/distilled", "data/tokenized")
URL = re.compile(r"[a-z][a-z0-9+.-]+://.*", re.IGNORECASE)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
HUB_ADDRESS = re.compile(r"^(https://huggingface\.co|hf:/)/datasets/|/$")
FILE = re.compile(r"\.[a-z]+$")


def require_there(data_source: str) -> None:
    """Raise DataError when there is nothing at `data_source`, with what to do for what it may have been meant to be."""
    try:
        Path(data_source).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(data_source) from error
    except OSError as error:
        raise DataError(
            f"cannot be looked at: {error.strerror}",
            where=data_source,
            hint=f"`namei -l {data_source}` shows which folder on the way is closed",
        ) from error


def refuse_replaced(data_source: str) -> None:
    """Raise DataError when `data_source` lies in a folder that the build replaces, or holds such a folder."""
    path = Path(os.path.realpath(data_source))  # unlike Path.resolve, it never raises
    for folder in REPLACED:
        replaced = Path(os.path.realpath(folder))
        if path.is_relative_to(replaced):
            raise DataError(
                f"lies in {folder}, which every build replaces: your data would be deleted",
                where=data_source,
                hint="put it elsewhere, `mv` it to data/ for one, and name it there in data_source in params.yaml",
            )
        if replaced.is_relative_to(path):
            raise DataError(
                f"holds {folder}, which the build itself writes",
                where=data_source,
                hint="put your data into a folder of their own, data/mine for one, and name it in data_source",
            )


def _missing(data_source: str) -> DataError:
    if hub_id := _meant_hub_id(data_source):
        problem = "there is no such file or folder here, and a data set of the Hugging Face hub needs its commit"
        hint = f"""name a file of these lines, data/sources/{hub_id.partition("/")[2]}.yaml for one, in data_source:
    sources:
      - hub: {hub_id}
        revision: 0123…  # all 40 digits: `git ls-remote https://huggingface.co/datasets/{hub_id} main` prints them"""
    elif URL.fullmatch(data_source):
        problem = "is an address, and nothing is downloaded from one: what it gives tomorrow may differ"
        hint = f"`curl -LO '{data_source}'` brings it here; then name the file in data_source"
    else:
        problem = "there is no such file"
        hint = "data_source in params.yaml names your data, or a recipe such as data/sources/command-line.yaml"
    return DataError(problem, where=data_source, hint=hint)


def _meant_hub_id(data_source: str) -> str:
    """Return the id of the hub's data set that was meant: org/name that is no path here, or an address of one."""
    hub_id = HUB_ADDRESS.sub("", data_source)
    if not HUB_ID.fullmatch(hub_id) or FILE.search(hub_id):
        return ""
    return "" if data_source == hub_id and Path(hub_id).parent.is_dir() else hub_id
