"""R1.3: an edit that changes an input but not what a stage makes of it stops there."""

import json
import os
from pathlib import Path

import pytest

from tests.contract.graph import stages

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline"), pytest.mark.row("R1.3")]


def test_times_and_rights_of_files_and_the_look_of_params_yaml_rerun_nothing(project):
    for file in read_by_stages(project.folder):
        os.utime(file)
        file.chmod(0o600)
    params = project.folder / "params.yaml"
    lines = [line.partition(" #")[0] for line in params.read_text().splitlines() if line[:1].isalpha()]
    assert len(lines) > 90
    params.write_bytes("\r\n".join(["# in another order", "", *reversed(lines), ""]).encode())
    assert project.repro() == ["export"]


def test_the_way_that_rows_are_written_reruns_only_the_stages_that_read_the_file(project):
    """White space, line ends, an empty line and the order of the fields; what comes out of prepare is as it was."""
    source = project.folder / "data/tiny.jsonl"
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    spaced = [json.dumps(dict(reversed(row.items())), separators=("  ,", " : ")) for row in rows]
    source.write_bytes("\r\n".join(["", *spaced, "", ""]).encode())
    assert project.repro() == ["collect", "prepare", "export"]


def test_a_remark_in_the_code_of_a_stage_reruns_that_stage_only(project):
    path = project.folder / "ollamake/tokens/tables.py"
    path.write_text(f"{path.read_text()}\n# a remark that says nothing\n")
    assert project.repro() == ["tokenize", "export"]


def read_by_stages(folder: Path) -> list[Path]:
    """The files of code and configuration that stages list; data in DVC's cache may be linked, and is left alone."""
    listed = {
        folder / dep for stage in stages().values() for dep in stage.deps if dep.startswith(("ollamake", "stages"))
    }
    files = [file for path in listed for file in ([path] if path.is_file() else path.rglob("*.py"))]
    assert len(files) > 100
    return [*files, folder / "data/tiny.jsonl"]
