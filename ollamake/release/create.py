"""Make a release of what the last `dvc repro` built, proved and served."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ollamake.base import RECORD
from ollamake.errors import ServerError
from ollamake.files import read_json, sha256, write_json
from ollamake.release import repository
from ollamake.release.bill import bill_of
from ollamake.release.build import EXPORT, ITEMS, Build, judgement, parity, read_build, require_whole, rows, scores
from ollamake.release.channels import CANDIDATE, TagServer, move
from ollamake.release.errors import ReleaseError
from ollamake.release.items import keep_items
from ollamake.release.prove import evidence_of
from ollamake.release.record import (
    Record,
    bill_path,
    content_hash,
    evidence_path,
    items_path,
    read_records,
    record_path,
    tag_of,
)
from ollamake.release.version import Part, bumped, numbers

PLACES = ("base_model", "data_source")  # parameters that may name what lies outside of the repository


def create(server: TagServer, version: str | None, part: Part) -> Record:
    """Record the build as a release, give it a tag that never moves, and let `candidate` name it.

    Raises ReleaseError or ServerError, and leaves no trace then.
    """
    records = read_records()
    version = version or bumped(records[-1].version if records else None, part)
    _require_free(version, records)
    build = read_build(server)
    content = content_hash(build.model.serving.sha256, build.model.modelfile)
    _require_new(build, content, records)
    require_whole()
    tag = tag_of(build.name, version, content)
    digest = build.proved.tag_digest
    with _undone_on_failure(server, version, tag, _copy(server, build.model.name, tag, digest)):
        items = keep_items(ITEMS, items_path(version))
        evidence = evidence_of(build.model.proof, build.model.gguf)
        write_json(evidence_path(version), evidence.model_dump())
        record = _record(build, version, tag, content, items)
        write_json(bill_path(version), bill_of(record))
        record = record.model_copy(update={"sbom": sha256(bill_path(version))})
        write_json(record_path(version), record.model_dump())
        move(server, {CANDIDATE: record})
    return record


def _require_free(version: str, records: list[Record]) -> None:
    numbers(version)
    if version in {record.version for record in records}:
        raise ReleaseError(
            f"there is a release {version} already", hint="a release never changes: leave the version out to count up"
        )
    repository.require_tag_is_free(repository.git_tag(version))


def _require_new(build: Build, content: str, records: list[Record]) -> None:
    if same := next((record for record in records if record.content == content), None):
        raise ReleaseError(
            f"this very model is release {same.version}: the same weights, template and parameters",
            hint=f"`python -m ollamake release promote {same.version}` lets prod name it",
        )
    if other := next((record.name for record in records if record.name != build.name), None):
        raise ReleaseError(
            f"the releases here are of {other}, but ollama_model is {build.model.written_name}",
            where="params.yaml",
            hint=f"set ollama_model to {other}, or begin anew: `git rm releases/*.json releases/*.*.jsonl`",
        )


def _copy(server: TagServer, served: str, tag: str, digest: str) -> bool:
    """Give the proved model its own tag; return whether it was not there. Raises ReleaseError for another under it."""
    there = server.digest(tag)
    if there == digest:
        return False
    if there is not None:
        raise ReleaseError(
            f"{tag} exists and is another model", where=server.url, hint=f"`ollama show {tag}`; `ollama rm {tag}`"
        )
    server.copy(served, tag)
    if server.digest(tag) != digest:
        server.delete(tag)
        raise ReleaseError(f"{served} was replaced in this moment", where=server.url, hint=EXPORT)
    return True


@contextmanager
def _undone_on_failure(server: TagServer, version: str, tag: str, made: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in (record_path(version), evidence_path(version), items_path(version), bill_path(version)):
            path.unlink(missing_ok=True)
        if made:
            with suppress(ServerError):  # what failed first is what the person has to know
                server.delete(tag)
        raise


def _record(build: Build, version: str, tag: str, content: str, items: dict[str, object]) -> Record:
    model, base = build.model, read_json(RECORD)
    return Record(
        version=version,
        name=build.name,
        tag=tag,
        content=content,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=build.commit,
        git_tag=repository.git_tag(version),
        base={key: str(base[key] or "") for key in ("name", "revision")},
        data=build.data,
        rows=rows(),
        scores=scores(),
        judge=judgement(),
        items=items,
        parity=parity(),
        serving=model.serving,
        template=model.modelfile.template,
        system=model.modelfile.system,
        license=model.modelfile.license,
        parameters=dict(model.modelfile.parameters),
        server_version=build.proved.version,
        tag_digest=build.proved.tag_digest,
        blobs=build.proved.blobs,
        checks=build.proved.checks,
        params=_without_folders(build.params),
    )


def _without_folders(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters; of a path out of the repository the last part, for the record goes wherever git goes."""
    outside = [name for name in PLACES if params[name].startswith(("/", "~", "../"))]
    return {**params, **{name: Path(params[name]).name for name in outside}}
