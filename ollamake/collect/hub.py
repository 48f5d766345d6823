"""The data files of a data set on the Hugging Face hub, at one commit; its scripts are never downloaded, let alone run.

A commit never changes, so the hub is asked once: what it lists, and the files, stay in the store's downloads. Only
`hub_files` is shared with the code that fetches base models, or every change there would collect the data again.
"""

import queue
import re
import shutil
import sys
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from filelock import FileLock

from ollamake.collect.content import Brought
from ollamake.data.formats.listing import is_data_file
from ollamake.errors import DataError
from ollamake.files import read_json, require_space, sha256, write_json
from ollamake.hub_files import facts_of, is_whole

ALL = "all"
# A black hole of a network must not hold the build up; looking up a host name has no time limit of its own.
PROBE_SECONDS = 4.5
CREDENTIALS = re.compile(r"//[^/\s]*@")  # an error of the hub repeats HF_ENDPOINT, which may hold a password
Listing = dict[str, Any]


class HubUnreachableError(Exception):
    """The hub did not answer, or something in between did in its place."""


@dataclass(frozen=True)
class HubData:
    """The files of a data set whose path in the repository fits `pattern`, in which * stands for / too."""

    hub_id: str
    commit: str
    pattern: str

    @property
    def page(self) -> str:
        """Where a person can look at the data set."""
        return f"https://huggingface.co/datasets/{self.hub_id}"

    def bring(self, name: str, raw: Path, downloads: Path) -> Brought:
        """Place the files under `raw`/`name`, by the paths that they have in the repository."""
        # By commit, so that the files that a broken-off download left are used, and only for the same commit.
        folder = downloads / f"datasets--{self.hub_id.replace('/', '--')}@{self.commit}"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            listing = self._listing(folder / ".listing.json")
            files = {file: listing["files"][file] for file in self._choose(listing)}
            missing = {file: facts for file, facts in files.items() if not is_whole(folder / file, facts)}
            if missing:
                size = sum(facts["size"] for facts in missing.values())
                require_space(downloads, size, f"downloading {self.hub_id}")
                _say(f"downloading {self.hub_id} from the hub: {size / 1e6:,.1f} MB, licence {listing['license']}")
                self._download(missing, folder)
            placed = [_place(folder / file, raw / name / file) for file in files]
        digests = {file: facts.get("sha256") or sha256(raw / name / file) for file, facts in files.items()}
        origin = {"hub": self.hub_id, "revision": self.commit, "license": listing["license"], "sha256": digests}
        return Brought(placed, f"{self.hub_id}: {listing['license']}", [origin])

    def _listing(self, kept: Path) -> Listing:
        """Return the licence of the data set, and the size and digest of each of its files."""
        if kept.is_file():
            listing: Listing = read_json(kept)
            return listing
        try:
            info = describe(self)
            files = {file.rfilename: facts_of(file) for file in info.siblings}
        except (HubUnreachableError, ValueError) as reason:
            raise DataError(
                f"the Hugging Face hub is out of reach: {reason}",
                where=self.hub_id,
                hint=f"where there is a network run `hf download {self.hub_id} --repo-type dataset --revision "
                f"{self.commit} --local-dir FOLDER`, bring the folder here and name it in data_source, or in `files:`",
            ) from reason
        named = (info.card_data or {}).get("license") or "unknown"
        listing = {"license": named if isinstance(named, str) else ", ".join(map(str, named)), "files": files}
        write_json(kept, listing)
        return listing

    def _choose(self, listing: Listing) -> list[str]:
        data = sorted(file for file in listing["files"] if is_data_file(file))
        chosen = [file for file in data if self.pattern == ALL or fnmatchcase(file, self.pattern)]
        if odd := [file for file in chosen if file.startswith("/") or ".." in file.split("/")]:
            raise DataError(f"lists a file that would lie elsewhere: {odd[0]!r}", where=self.hub_id, hint=self.page)
        if chosen:
            return chosen
        shown = f"{self.page}/tree/{self.commit}"
        if data:
            problem, hint = f"none of its {len(data)} data files fits {self.pattern}", f"{shown} shows them"
        elif any(file.endswith(".py") for file in listing["files"]):
            problem = "holds no data, only a script that would load it, and such scripts are never run here"
            hint = f"the hub may have made files of it: {self.page}/commits/refs%2Fconvert%2Fparquet lists the commits"
        else:
            problem, hint = "holds no file in a format that can be read", f"{shown} shows what it holds"
        raise DataError(problem, where=f"{self.hub_id}, commit {self.commit[:10]}", hint=hint)

    def _download(self, files: Listing, folder: Path) -> None:
        """Download each file into `folder`; the library tries again by itself, but cannot go on with a killed try."""
        from huggingface_hub import errors, hf_hub_download

        for left in folder.rglob("*.incomplete"):
            left.unlink()
        try:
            for file, facts in files.items():
                # What is there has been looked at, and is not whole.
                (folder / file).unlink(missing_ok=True)
                hf_hub_download(self.hub_id, file, repo_type="dataset", revision=self.commit, local_dir=folder)
                if not is_whole(folder / file, facts):
                    (folder / file).unlink()
                    raise DataError(
                        "was damaged on the way: it is not the file that the hub lists",
                        where=f"{self.hub_id}, {file}",
                        hint="`dvc repro` fetches it again",
                    )
        except errors.RepositoryNotFoundError as error:  # 401 and 403 too
            raise _closed(self) from error
        except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
            raise DataError(
                f"the download broke off: {_first_line(error)}",
                where=self.hub_id,
                hint="`dvc repro` goes on where it stopped",
            ) from error


def describe(data: HubData) -> Any:
    """Return the hub's DatasetInfo with licence and files, within PROBE_SECONDS.

    Raises HubUnreachableError when there is no hub to ask, DataError when the hub has no such data set.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_dataset_info(data))
        except Exception as error:  # noqa: BLE001 (raised below, in the thread that asked)
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        raise HubUnreachableError(f"no answer within {PROBE_SECONDS:.0f} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _dataset_info(data: HubData) -> Any:
    from huggingface_hub import HfApi, errors

    try:
        return HfApi().dataset_info(data.hub_id, revision=data.commit, timeout=PROBE_SECONDS, files_metadata=True)
    except errors.RevisionNotFoundError as error:
        raise DataError(
            f"has no commit {data.commit}", where=data.hub_id, hint=f"{data.page}/commits/main lists the commits"
        ) from error
    except errors.GatedRepoError as error:
        raise _closed(data) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            "the hub has no such data set, or shows it only to those who are logged in",
            where=data.hub_id,
            hint="check the spelling; for a private data set run `hf auth login` (or set HF_TOKEN), then `dvc repro`",
        ) from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise HubUnreachableError(_first_line(error)) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise HubUnreachableError("something that is not the hub answered") from error


def _closed(data: HubData) -> DataError:
    return DataError(
        "is given only to those who are logged in and have accepted its terms",
        where=data.hub_id,
        hint=f"accept them at {data.page}, run `hf auth login` (or set HF_TOKEN), then `dvc repro`",
    )


def _place(file: Path, target: Path) -> Path:
    # A second name costs no space, and the download need not be made again when the data are collected again.
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)
    return target


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _first_line(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CREDENTIALS.sub("//", first)
