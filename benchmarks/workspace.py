"""A scratch workspace for the train stage: params.yaml, pins, a base model in a store of its own, tokenized rows."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The stage as `dvc repro` runs it, seen by the clock.
STAGE = [sys.executable, "-m", "benchmarks.peers.clock", "events.jsonl", "stages.train"]
ADAPTER = "models/tuned"


def build_workspace(
    folder: Path, base: Path, record: Mapping[str, Any], tables: Mapping[str, Any], changes: Mapping[str, Any]
) -> Path:
    """Write what `python -m stages.train` reads, and return `folder`.

    `record` is the content of models/base.json and `base` the folder of its files, `tables` the rows of `train` and
    `val`, `changes` what differs from this checkout's params.yaml. The store belongs to the workspace, so that no
    checkpoint of an earlier run is found.
    """
    params = {**read_params(), **changes}
    for name in ("models", "data/tokenized", ".ollamake/base", "metrics", "plots"):
        (folder / name).mkdir(parents=True)
    (folder / ".ollamake/base" / record["key"]).symlink_to(base.resolve(), target_is_directory=True)
    (folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
    (folder / "models/base.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copyfile(ROOT / "pins.yaml", folder / "pins.yaml")
    write_tables(folder / "data/tokenized", tables, params)
    return folder


def read_params() -> dict[str, Any]:
    """Return the parameters of this checkout."""
    from ollamake import params

    return dict(params.read(ROOT / "params.yaml"))


def write_tables(folder: Path, tables: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Write the splits as tokenize does, and the packed rows if the parameters ask for them."""
    from ollamake.tokens.tables import write_packs, writer

    for name, table in tables.items():
        with writer(folder / f"{name}.arrow", table.schema) as stream:
            for batch in table.combine_chunks().to_batches():
                stream.write_batch(batch)
    write_packs(folder, params["max_length"] if params["packing"] else 0)


def read_table(path: Path) -> Any:
    """Return the rows of a tokenized split."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def pairs(table: Any) -> Sequence[tuple[list[int], list[int]]]:
    """Return the token ids and labels of each row."""
    return list(zip(table["input_ids"].to_pylist(), table["labels"].to_pylist(), strict=True))


def pinned(package: str) -> str:
    """Return the version of a package that pins.yaml names."""
    from ollamake import params

    return str(params.read(ROOT / "pins.yaml")[package])
