"""R1.7: a stage opens nothing in the repository that the graph does not know of, and speaks to this machine only."""

import re
import shutil
from pathlib import Path

import pytest

from tests.contract.graph import code_of, inside, stages
from tests.faults.network import ONLINE

pytestmark = [pytest.mark.row("R1.7")]

# The second path is the one that the kernel found behind the first.
OPENED = re.compile(r"^.* open(?:at)?(?:\(| resumed>).* = \d+<([^>]+)>$", re.MULTILINE)
CALLED = re.compile(r" connect\(.*sa_family=AF_INET6?,.*(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\"")
LOOPBACK = ("127.", "::1", "::ffff:127.")
# Read by every stage around its work: all keys are checked, and the versions of packages, and where DVC's cache lies,
# which DVC writes to next.
CHECKED_FIRST = ("params.yaml", "pins.yaml", ".dvc/config", ".dvc/config.local")
# DVCLive looks which repository it stands in. Nothing of it is written: other commits make the same bytes (R1.6).
LOOKED_AT = {"train": (".dvc/.gitignore", ".dvcignore", ".git", ".gitignore")}
# Ours and outside the graph on purpose: the base model in its store, checkpoints, logs of training.
OWN = (".ollamake", ".checkpoints", "logs")


@pytest.fixture
def traces(project, tmp_path) -> dict[str, str]:
    """What the processes of each stage asked the kernel for, in a build of all stages."""
    graph = project.folder / "dvc.yaml"
    trace = f"strace -f -qq -y --seccomp-bpf -e trace=open,openat,connect -o {tmp_path}/"
    graph.write_text(re.sub(r"cmd: (python -m stages\.(\w+))", rf"cmd: {trace}\2 \1", graph.read_text()))
    said = project.run("dvc", "repro", **ONLINE).stdout
    assert all(f"Running stage '{name}'" in said for name in stages())
    return {name: (tmp_path / name).read_text(errors="replace") for name in stages()}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.xdist_group("pipeline")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_stage_opens_what_the_graph_lists_for_it_and_calls_nobody_outside(project, traces):
    opened = {name: opened_in(project.folder, text) for name, text in traces.items()}
    assert all(len(paths) > 10 for paths in opened.values())
    assert {name: sorted(found) for name, paths in opened.items() if (found := unlisted(name, paths))} == {}
    called = {name: set(CALLED.findall(text)) for name, text in traces.items()}
    assert "127.0.0.1" in called["convert"] | called["export"]
    outside = {name: {host for host in hosts if not host.startswith(LOOPBACK)} for name, hosts in called.items()}
    assert {name: hosts for name, hosts in outside.items() if hosts} == {}


def test_what_the_graph_does_not_list_is_found_in_a_trace():
    trace = """
41 openat(AT_FDCWD</p>, "metrics/train.json", O_RDONLY|O_CLOEXEC) = 3</p/metrics/train.json>
41 openat(AT_FDCWD</p>, "ollamake/gate/flips.py", O_RDONLY|O_CLOEXEC) = 3</p/ollamake/gate/flips.py>
41 openat(AT_FDCWD</p>, ".flips.md.partial-x1", O_RDWR <unfinished ...>
41 <... openat resumed>) = 4</p/models/.flips.md.partial-x1>
41 openat(AT_FDCWD</p>, "absent", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
42 openat(AT_FDCWD</p>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>
42 connect(5<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = 0
42 connect(5<TCP:[2]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT
"""
    opened = opened_in(Path("/p"), trace)
    assert opened == {"metrics/train.json", "ollamake/gate/flips.py", "models/.flips.md.partial-x1"}
    assert unlisted("gate", opened) == {"metrics/train.json"}
    assert CALLED.findall(trace) == ["192.0.2.1"]


def opened_in(folder: Path, trace: str) -> set[str]:
    """The files of the project that were opened, folders and what is nobody's left out."""
    paths = {Path(path) for path in OPENED.findall(trace)}
    places = {str(path.relative_to(folder)): path for path in paths if path.is_relative_to(folder)}
    return {place for place, path in places.items() if not path.is_dir() and "__pycache__" not in place}


def unlisted(stage: str, paths: set[str]) -> set[str]:
    """Those of the paths that are no input and no output of the stage; a partial file has its final name.

    Code of other stages is none of them: the Params of all stages check params.yaml first. What code a stage itself
    goes by is read from its imports, in tests/contract.
    """
    entry = stages()[stage]
    known = {dep.replace("${data_source}", "data/tiny.jsonl") for dep in entry.deps} | entry.outs
    known |= {"models/export"} if stage == "export" else set()
    code = {file for name in stages() for file in code_of(name)}
    packages = {f"{parent}/__init__.py" for file in code for parent in Path(file).parents}
    places = {*known, *CHECKED_FIRST, *OWN, *code, *packages, *LOOKED_AT.get(stage, ())}
    final = {path: re.sub(r"(^|/)\.([^/]+)\.partial-[^/]*", r"\1\2", path) for path in paths}
    # A folder around a known place is a folder that was made whole beside it.
    return {path for path in paths if not any(inside(final[path], at) or inside(at, final[path]) for at in places)}
