"""The bill of materials of a release, in CycloneDX's JSON: what the model is, and all that it was made of.

Base model, data, adapter and GGUF with the sha256 of every file, packages with their versions, parameters, the commit
and the licence. Its own sha256 stands in the release's record, which git keeps. The form: https://cyclonedx.org, 1.6.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ollamake.base import RECORD, store
from ollamake.files import read_json, sha256
from ollamake.recorded import WEIGHTS
from ollamake.release.record import Record, bill_path

LOCKS = tuple(Path(f"requirements{part}.lock") for part in ("", "-sdists", "-converter"))
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)
Component = dict[str, Any]


def bill_of(record: Record) -> Component:
    """Return the bill of a release of what lies in the workspace."""
    base = read_json(RECORD)
    parts = [_base(base), *_files("data", [Path(path) for path in record.data]), *_files("file", list(WEIGHTS))]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, record.content)}",
        "version": 1,
        "metadata": {"timestamp": record.created, "component": _model(record, base)},
        "components": [*parts, *_packages()],
    }


def read_bill(version: str) -> Component:
    """Return the bill of a release."""
    found: Component = read_json(bill_path(version))
    return found


def files_of(bill: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the path of every file that the bill names, and its sha256."""
    for component in bill["components"]:
        if component["type"] in ("data", "file"):
            yield Path(component["name"]), component["hashes"][0]["content"]
        if folder := _property(component, "folder"):
            yield from ((Path(folder, one["name"]), one["hashes"][0]["content"]) for one in component["components"])


def _model(record: Record, base: Mapping[str, Any]) -> Component:
    params = {f"param:{name}": value for name, value in record.params.items()}
    facts = {"git_commit": record.git_commit, "quantization": record.serving.quantization, "tag": record.tag, **params}
    scores = [{"type": name, "value": str(value)} for name, value in record.scores.get("tuned", {}).items()]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": record.name,
        "version": record.version,
        "hashes": [_hash(record.serving.sha256)],
        "licenses": _licenses(record.license),
        "pedigree": {"ancestors": [_named(base)], "commits": [{"uid": record.git_commit}]},
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "modelArchitecture": base.get("architecture", ""),
                "datasets": [{"ref": path} for path in _paths([Path(path) for path in record.data])],
            },
            "quantitativeAnalysis": {"performanceMetrics": scores},
        },
        "properties": _properties(facts),
    }


def _base(base: Mapping[str, Any]) -> Component:
    files = [{"type": "file", "name": name, "hashes": [_hash(digest)]} for name, digest in base["files"].items()]
    where = {"folder": (store() / "base" / base["key"]).as_posix()}
    source = {f"source:{name}": value for name, value in base.get("source", {}).items()}
    return {**_named(base), "bom-ref": "base", "components": files, "properties": _properties({**where, **source})}


def _named(base: Mapping[str, Any]) -> Component:
    return {
        "type": "machine-learning-model",
        "name": base["name"],
        "version": str(base["revision"] or ""),
        "licenses": _licenses(base["license"]),
    }


def _files(kind: str, paths: list[Path]) -> Iterator[Component]:
    for path in _paths(paths):
        yield {"type": kind, "bom-ref": path, "name": path, "hashes": [_hash(sha256(Path(path)))]}


def _paths(paths: list[Path]) -> list[str]:
    """Return the files, those in folders included."""
    found = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted({file.as_posix() for file in found})


def _packages() -> Iterator[Component]:
    for lock in LOCKS:
        text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
        for name, version in PINNED.findall(text):
            purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
            yield {"type": "library", "bom-ref": f"{lock}:{name}", "name": name, "version": version, "purl": purl}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _licenses(text: str) -> list[dict[str, Any]]:
    return [{"license": {"name": text}}] if text else []


def _properties(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"ollamake:{name}", "value": str(value)} for name, value in facts.items()]


def _property(component: Component, name: str) -> str:
    found = {one["name"]: one["value"] for one in component.get("properties", [])}
    return str(found.get(f"ollamake:{name}", ""))
