"""What maintenance looks at: the release that `prod` names, any other release, or the last build."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake import params
from ollamake.files import read_jsonl
from ollamake.ollama.gguf_header import read_header
from ollamake.ollama.served import ServedModel
from ollamake.ollama.settings import Settings, model_to_serve
from ollamake.ollama.verify import Finding, verify
from ollamake.release import prove
from ollamake.release.build import ITEMS
from ollamake.release.channels import PROD, TagServer, read_channels
from ollamake.release.errors import ReleaseError
from ollamake.release.record import Record, items_path, read_record, recorded_model


@dataclass(frozen=True)
class Subject:
    """A served model and what was recorded of it.

    `tag` is what users call, `same_as` the tag that never moves and must be the same model (None for a build), `header`
    the metadata of its GGUF, `items` the rows of its items.jsonl, `params` the parameters that it was built with.
    """

    tag: str
    version: str | None
    same_as: str | None
    model: ServedModel
    header: dict[str, Any]
    items: list[dict[str, Any]]
    params: dict[str, Any]

    def findings(self, server: TagServer) -> list[Finding]:
        """Return what each check of export finds for the served tag. Raises ReleaseError where it is not served."""
        digests = server.digests()
        if self.tag not in digests:
            hint = f"python -m ollamake release deploy {self.version}" if self.version else "dvc repro export"
            raise ReleaseError(f"{self.tag} is not there", where=server.url, hint=f"`{hint}` brings it")
        return [*self._named(digests), *verify(server, self.tag, self.model, self.header)]

    def _named(self, digests: dict[str, str]) -> list[Finding]:
        if self.same_as is None:
            return []
        same = digests.get(self.same_as) == digests[self.tag]
        detail = f"{self.tag} is not {self.same_as}: somebody moved it, or that tag is gone"
        return [Finding("the tag names the release", int(same), 1, same, () if same else (detail,))]


def find_subject(version: str | None) -> Subject:
    """Return the release of that version; without one that of prod, or the last build where prod names none.

    Raises OllamakeError where nothing was released or built.
    """
    version, given = version or read_channels().get(PROD), version is not None
    if version is None:
        return _build()
    return _release(read_record(version), given=given)


def _release(record: Record, *, given: bool) -> Subject:
    tag = record.tag if given else f"{record.name}:{PROD}"
    model, header = recorded_model(record, Path(record.serving.gguf)), prove.header_of(record)
    items = read_jsonl(items_path(record.version))
    return Subject(tag, record.version, record.tag, model, header, items, record.params)


def _build() -> Subject:
    content = params.read()
    params.check(content)
    if not ITEMS.is_file():
        raise ReleaseError("nothing was built here, and nothing released", where=str(ITEMS), hint="`make build`")
    model = model_to_serve(params.select(Settings, content))
    return Subject(model.name, None, None, model, read_header(model.gguf), read_jsonl(ITEMS), dict(content))
