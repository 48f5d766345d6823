"""What ships: the GGUF by its own record, what export wrote beside it, and the releases in git."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from ollamake import params
from ollamake.base import RECORD
from ollamake.errors import ConversionError, OllamakeError
from ollamake.files import read_json
from ollamake.ollama.receipt import read_receipt
from ollamake.ollama.served import ServedModel
from ollamake.ollama.settings import EXPORT, GGUF, RECEIPT, Settings, model_to_serve
from ollamake.recorded import recorded
from ollamake.release.bill import files_of, read_bill
from ollamake.release.record import (
    Record,
    bill_path,
    content_hash,
    read_records,
    record_path,
    recorded_model,
    tag_of,
)
from ollamake.verify.part import Expected, Flaw, Part

MODELFILE = EXPORT / "Modelfile"


def serving() -> Iterator[Part]:
    """Yield the GGUF by the sha256 in serving.json, and what export made of it."""
    name = "GGUF to serve"
    if not GGUF.is_dir():
        yield Part(name, skipped="nothing was converted yet, or `dvc checkout` has to bring it")
        return
    try:
        model = model_to_serve(params.select(Settings, params.read()))
    except OllamakeError as error:
        yield Part(name, flaws=(Flaw(error.where or str(GGUF), error.problem, error.hint),))
        return
    except (OSError, ValueError, KeyError):
        yield Part(name, skipped=f"{RECORD}, which names its licence, cannot be read")
        return
    remedy = partial(str, "what stands above at convert; else `dvc repro --force --single-item convert`")
    yield Part(name, (Expected(model.gguf, "sha256", model.serving.sha256, remedy),))
    yield _exported(model)


def _exported(model: ServedModel) -> Part:
    name, receipt = "export", read_receipt(RECEIPT)
    if receipt is None or not MODELFILE.is_file():
        return Part(name, skipped="nothing was exported yet")
    uploaded = receipt.proved.blobs.get("uploaded") if receipt.proved else None
    if receipt.model != model.written_name or uploaded not in (None, f"sha256:{model.serving.sha256}"):
        return Part(name, skipped="the last export was of another model: `dvc repro export`")
    digest = hashlib.sha256(model.modelfile.render().encode()).hexdigest()
    expected = Expected(MODELFILE, "sha256", digest, partial(str, f"`rm -f {MODELFILE} && dvc repro export`"))
    return Part(name, (expected,))


def releases() -> Part:
    """Return the records of all releases, and the files of the one that this workspace holds."""
    name = "releases"
    try:
        records = read_records()
        flaws = tuple(flaw for record in records for flaw in _contradictions(record))
    except OllamakeError as error:
        return Part(name, flaws=(Flaw(error.where, error.problem, error.hint),))
    if not records:
        return Part(name, skipped="none was made yet")
    files = [_bill(record) for record in records if record.sbom]
    if here := [record for record in records if record.sbom and _is_here(record)]:
        files += _files(here[-1])
    older = [record.version for record in records if not record.sbom]
    note = f"without a bill of materials: {', '.join(older)}" if older else ""
    return Part(name, tuple(files), flaws, note)


def _contradictions(record: Record) -> Iterator[Flaw]:
    """Yield where the record does not agree with itself. Raises ReleaseError where its proof cannot be read."""
    model = recorded_model(record, Path(record.serving.gguf))
    content = content_hash(record.serving.sha256, model.modelfile)
    if content != record.content or tag_of(record.name, record.version, content) != record.tag:
        path = record_path(record.version)
        yield Flaw(str(path), f"says {record.tag}, and that its content is …-{content[:8]}", _from_git(path)())


def _bill(record: Record) -> Expected:
    path = bill_path(record.version)
    return Expected(path, "sha256", record.sbom, _from_git(path))


def _files(record: Record) -> Iterator[Expected]:
    """Yield the files in the release's bill of materials that lie here; a damaged bill is told by its own hash."""
    with suppress(ValueError, KeyError, OSError):
        for path, digest in files_of(read_bill(record.version)):
            if path.exists():
                said = f"released otherwise as {record.version}; the part above that holds it tells the remedy"
                yield Expected(path, "sha256", digest, partial(str, said))


def _is_here(record: Record) -> bool:
    """Tell whether the workspace holds this release's build: its data and its GGUF, by what recorded them."""
    with suppress(OSError, ValueError, ConversionError):
        known = recorded()
        same_data = all(known.get(path) == digest for path, digest in record.data.items())
        return same_data and bool(read_json(GGUF / "serving.json")["sha256"] == record.serving.sha256)
    return False


def _from_git(path: Path) -> partial[str]:
    return partial(str, f"`git checkout HEAD -- {path}`")
