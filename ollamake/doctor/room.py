"""Memory and disk against what this configuration is predicted to need, by the formulas of `ollamake plan`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ollamake.base import RECORD
from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named, warning
from ollamake.doctor.links import device, existing, works
from ollamake.doctor.subject import Subject

if TYPE_CHECKING:
    from ollamake.plan.shape import Shape
    from ollamake.plan.tokens import Tokens

TRAIN_ROWS = Path("data/distilled/train.jsonl")
# Collected, prepared and distilled rows, and what sorting needs meanwhile, against the raw ones.
DATA = 6
SPARE = 1.05  # what ollamake.files.require_space asks for
SERVED_COPIES = 2  # what is uploaded to Ollama, and what it makes of that


class Need(NamedTuple):
    """What one intermediate takes: bytes, in a folder, and those of them that go into DVC's cache."""

    what: str
    folder: Path
    size_bytes: float
    cached_bytes: float = 0.0


def memory(subject: Subject) -> Verdict:
    """Compare the predicted peak memory of each stage with the GPU's memory, or the machine's."""
    from ollamake.plan.forecast import MODELS, memory_parts
    from ollamake.plan.machine import this_machine

    machine, shape, tokens = this_machine(), _shape(subject), _tokens(subject)
    # On a GPU convert computes beside it, in the machine's memory.
    stages = [stage for stage in MODELS if not (machine.gpu and stage == "convert")]
    peaks = {stage: sum(memory_parts(stage, subject.content, shape, tokens, machine).values()) for stage in stages}
    stage = max(peaks, key=lambda name: peaks[name])
    need, total, free = peaks[stage], machine.memory_bytes, machine.free_bytes
    said = f"{stage} takes most, {_size(need)} ({tokens.basis}); {machine.name} has {_size(total)}"
    if need > total:
        return failure(
            said,
            "`python -m ollamake plan` tells what takes less; `python -m ollamake models recommend "
            f"--memory {total / 1e9:.0f}GB` lists base models that fit",
        )
    if need > free:
        return warning(f"{said}, {_size(free)} of it free now", "end what takes it: `ps aux --sort=-rss`")
    return fine(f"{said}, {_size(free)} of it free")


def disk(subject: Subject) -> Verdict:
    """Compare what a whole build writes with the free space, for each file system that it writes to."""
    by_disk: dict[int, list[Need]] = {}
    for need in needs(subject):
        by_disk.setdefault(device(need.folder), []).append(need)
    said, full = [], []
    for found in by_disk.values():
        here = device(found[0].folder) == device(subject.root)
        folder = subject.root if here else existing(found[0].folder)
        total, free = sum(need.size_bytes for need in found) * SPARE, shutil.disk_usage(folder).free
        largest = sorted(found, key=lambda need: -need.size_bytes)
        parts = named([f"{need.what} {_size(need.size_bytes)}" for need in largest if need.size_bytes], 6)
        line = f"{_size(total)} of {_size(free)} free {'here' if here else f'on the disk of {folder}'} ({parts})"
        said.append(line)
        if total > free:
            full.append(line)
    if full:
        return failure(
            f"a whole build may need {'; '.join(full)}",
            "`dvc gc --workspace --all-experiments --dry` shows what DVC could drop; less take a smaller base_model, "
            "fewer names in gguf_quantization, keep_best=0",
        )
    return fine(f"a whole build needs at most {'; '.join(said)}")


def needs(subject: Subject) -> Iterator[Need]:
    """Yield what each intermediate takes while a whole build runs, at most."""
    from ollamake.gguf.build import FILE_BYTES
    from ollamake.plan import disk as planned
    from ollamake.plan import work

    content, root, shape, tokens = subject.content, subject.root, _shape(subject), _tokens(subject)
    training = planned.of_training(work.training(content, shape, tokens, bf16=True))
    converting = planned.of_conversion(work.conversion(content, shape), content)
    # `convert` refuses to start with less, whatever its files will come to.
    refused = FILE_BYTES * len({"F16", *content["gguf_quantization"].split()}) * shape.parameters
    rows, data = planned.of_tokens(tokens), DATA * own_data_bytes(subject)
    found = [
        Need("base model", root / ".ollamake", 0.0 if _fetched(subject) else sum(planned.of_fetch(shape))),
        Need("data", root / "data", data + rows.kept, data + rows.kept),
        Need("checkpoints and tuned model", root / ".checkpoints", sum(training), training.kept),
        Need("GGUF files", root / "models", max(sum(converting), refused), converting.kept),
    ]
    yield from found
    linked = any(works(kind, subject.cache, root) for kind in subject.link_types if kind != "copy")
    yield Need("DVC's cache", subject.cache, 0.0 if linked else sum(need.cached_bytes for need in found))
    if models := ollama_folder():
        served = planned.gguf_bytes(content["gguf_quantization"].split()[0], shape.parameters)
        yield Need("Ollama", models, SERVED_COPIES * served)


def own_data_bytes(subject: Subject) -> int:
    """Return the size of the user's own data files; 0 for data that comes from elsewhere, which is not known yet."""
    from ollamake.collect import request
    from ollamake.errors import OllamakeError

    try:
        sources = request.parse(subject.content["data_source"], subject.content["data_files"])
    except OllamakeError:
        raise SkippedError("the data has to be there first") from None
    return sum(file.stat().st_size for source in sources for file in source.own_files)


def ollama_folder() -> Path | None:
    """Return the models folder of an Ollama server on this machine, where one can be seen."""
    from ollamake.ollama.address import server_address, why_silent
    from ollamake.resolve.ollama_store import models_folders

    address = server_address()
    if address.host not in ("127.0.0.1", "::1", "localhost") or why_silent(address):
        return None
    return next((folder for folder in models_folders() if folder.is_dir()), None)


def _fetched(subject: Subject) -> bool:
    from ollamake.files import read_json

    return RECORD.is_file() and bool(read_json(RECORD)["name"] == subject.content["base_model"])


def _shape(subject: Subject) -> "Shape":
    """Return the size of the base model, from the store, a folder or its card."""
    from ollamake.plan.shape import shape_of

    wanted = subject.content["base_model"]
    if shape := shape_of(wanted, fetched=_fetched(subject)):
        return shape
    raise SkippedError(f"the size of {wanted} is known once it was fetched")


def _tokens(subject: Subject) -> "Tokens":
    """Return how long the conversations are: as in the last build, else as long as max_length allows."""
    from ollamake.catalog.memory import longest_rows
    from ollamake.files import read_json
    from ollamake.plan.tokens import count_tokens

    def last(stage: str) -> Any:
        path = Path(f"metrics/{stage}.json")
        return read_json(path) if path.is_file() else None

    size = TRAIN_ROWS.stat().st_size if TRAIN_ROWS.is_file() else 0
    return count_tokens(lambda _: None, last, subject.content, size) or longest_rows(subject.content["max_length"])


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
