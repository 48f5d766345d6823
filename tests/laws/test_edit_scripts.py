"""R1.1: whatever was edited, undone, lost and renamed, `dvc repro` ends where a build from scratch begins and ends.

An edit enters one of a few states of the project, with damage on the way, and is followed by `dvc repro`; the next one
goes on from what is there. One build from scratch of each state, in a fresh clone with a fresh cache, tells what must
stand there whenever a script of edits passes through it.
"""

import random
import shutil
from collections.abc import Callable

import pytest

from tests.counts import dice, times
from tests.laws.outputs import different, outputs
from tests.laws.surroundings import Surroundings, build_in
from tests.pipeline.conftest import Project

SCRIPTS, EDITS = range(times(1, release=4)), times(10, release=50)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline"), pytest.mark.row("R1.1")]


def as_committed(project: Project) -> None:
    """Change nothing."""


def smaller_adapter(project: Project) -> None:
    project.set(lora_rank=2)


def stricter_gate(project: Project) -> None:
    project.set(gate_min_gain=-2.0)


def fewer_probes(project: Project) -> None:
    project.set(parity_prompts=2, gguf_quantization="F16")


def another_row(project: Project) -> None:
    with (project.folder / "data/tiny.jsonl").open("a") as stream:
        stream.write('{"instruction": "weigh the parcel", "output": "du -sh parcel"}\n')


def renamed_data(project: Project) -> None:
    (project.folder / "data/tiny.jsonl").rename(project.folder / "data/renamed.jsonl")
    project.set(data_source="data/renamed.jsonl")


def a_remark_in_code(project: Project) -> None:
    with (project.folder / "ollamake/labels.py").open("a") as stream:
        stream.write("\n# a remark that changes nothing\n")


def other_words_in_code(project: Project) -> None:
    page = project.folder / "ollamake/report/scores.py"
    page.write_text(page.read_text().replace('Section("Scores"', 'Section("Figures"'))


STATES = {
    state.__name__: state
    for state in (
        as_committed,
        smaller_adapter,
        stricter_gate,
        fewer_probes,
        another_row,
        renamed_data,
        a_remark_in_code,
        other_words_in_code,
    )
}


def an_output_is_deleted(project: Project, chance: random.Random) -> None:
    name = chance.choice(sorted(outputs(project.folder)))
    (project.folder / name).unlink()


def a_folder_is_deleted(project: Project, chance: random.Random) -> None:
    shutil.rmtree(project.folder / chance.choice(["data/tokenized", "models/tuned", "models/gguf", "plots/train"]))


def a_cached_file_is_deleted(project: Project, chance: random.Random) -> None:
    cached = [path for path in (project.folder / ".dvc/cache/files").rglob("*") if path.is_file()]
    chance.choice(sorted(cached)).unlink()


def memory_of_runs_is_deleted(project: Project, chance: random.Random) -> None:
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)


def nothing_happens(project: Project, chance: random.Random) -> None:
    """Leave everything as it is."""


DAMAGE = (an_output_is_deleted, a_folder_is_deleted, a_cached_file_is_deleted, memory_of_runs_is_deleted)


def enter(project: Project, state: Callable[[Project], None]) -> None:
    """Make the sources those of the state; what was built stays where it is."""
    project.run("git", "checkout", "--quiet", "HEAD", "--", "params.yaml", "data", "ollamake", "stages")
    (project.folder / "data/renamed.jsonl").unlink(missing_ok=True)
    state(project)


@pytest.fixture(scope="module")
def from_scratch(built, tmp_path_factory) -> Callable[[str], dict[str, str]]:
    """What a build from scratch of a state leaves, made when it is first asked for."""
    known = {"as_committed": outputs(built.folder)}

    def look_up(name: str) -> dict[str, str]:
        if name not in known:
            around = Surroundings(name, folder=name)
            folder = tmp_path_factory.mktemp("scratch")
            known[name] = outputs(build_in(around, built, folder, change=STATES[name]).folder)
            shutil.rmtree(folder)
        return known[name]

    return look_up


def edit(project: Project, name: str, chance: random.Random, reference, done: list[str]) -> None:
    """Enter a state with damage on the way, build, compare; `done` is what was done before, for a failure to tell."""
    damage = chance.choice([*DAMAGE, nothing_happens])
    enter(project, STATES[name])
    damage(project, chance)
    done.append(f"{name}, {damage.__name__}")
    project.repro()
    assert different(reference(name), outputs(project.folder)) == [], "; ".join(done)


def test_an_edit_and_its_way_back_with_damage_on_the_way_end_as_a_build_from_scratch(project, from_scratch):
    chance = random.Random(1)  # noqa: S311 - it is no secret
    enter(project, stricter_gate)
    an_output_is_deleted(project, chance)
    project.repro()
    edit(project, "as_committed", chance, from_scratch, [])


@pytest.mark.nightly
@pytest.mark.parametrize("script", [pytest.param(n, marks=pytest.mark.xdist_group(f"edits-{n}")) for n in SCRIPTS])
def test_random_edits_end_as_builds_from_scratch(built, from_scratch, script, tmp_path):
    project = Project(tmp_path / "project")  # its cache loses files that no `dvc checkout` could restore
    shutil.copytree(built.folder, project.folder, symlinks=True)
    chance, done = dice(f"edits {script}"), []
    for number in range(EDITS):
        edit(project, chance.choice(sorted(STATES)), chance, from_scratch, done)
        print(f"edit {number + 1} of {EDITS}: {done[-1]}")


def test_every_state_is_one_of_its_own(built, tmp_path):
    """An edit that no longer finds its text would try nothing."""
    copies = {}
    for name, state in STATES.items():
        clone = Project(tmp_path / name)
        built.run("git", "clone", "--quiet", str(built.folder), str(clone.folder))
        state(clone)
        copies[name] = clone.run("git", "diff").stdout + clone.run("git", "status", "--short").stdout
    assert copies.pop("as_committed") == ""
    assert "" not in copies.values()
    assert len(set(copies.values())) == len(copies)
