"""R1.6 and R1.9: another folder, user, language, clock or machine state around a build is nowhere in what it makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.laws.outputs import different, outputs
from tests.laws.surroundings import Surroundings, build_in, surroundings, together

NAMES = [around.name for around in surroundings(Path(os.devnull))]
# One of each pair that excludes the other.
LEFT_OUT = {"no language", "hashes of text from 0", "ten years earlier"}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


def assert_same_bytes(built, around: Surroundings, folder: Path) -> None:
    one, other = outputs(built.folder), outputs(build_in(around, built, folder).folder)
    assert any(path.endswith(".gguf") for path in one)
    assert "models/export/Modelfile" in one
    assert different(one, other) == [], around.name


def test_the_clock_of_a_command_is_another(tmp_path):
    [later] = [around for around in surroundings(tmp_path) if around.name == "ten years later"]
    if later.needs:
        pytest.skip(later.needs)
    asked = [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"]
    years = [
        int(subprocess.run([*under, *asked], capture_output=True, check=True).stdout) for under in ((), later.under)
    ]
    assert years[1] - years[0] in (9, 10)


@pytest.mark.row("R1.6")
@pytest.mark.row("R1.9")
def test_another_folder_home_language_zone_path_umask_user_and_clock_make_the_same_bytes(built, tmp_path):
    """Hashes of text are random in the other build. Where this fails, the nightly tests tell which of all it is."""
    (tmp_path / "home").mkdir()
    parts = [around for around in surroundings(tmp_path / "home") if around.name not in LEFT_OUT]
    assert len([around for around in parts if not around.needs]) >= 6
    assert_same_bytes(built, together(parts), tmp_path)


@pytest.mark.nightly
@pytest.mark.row("R1.6")
@pytest.mark.parametrize("name", NAMES)
def test_a_build_in_other_surroundings_makes_the_same_bytes(built, name, tmp_path):
    (tmp_path / "home").mkdir()
    [around] = [around for around in surroundings(tmp_path / "home") if around.name == name]
    if around.needs:
        pytest.skip(around.needs)
    assert_same_bytes(built, around, tmp_path)


@pytest.mark.nightly
@pytest.mark.row("R1.9")
def test_twice_the_same_commit_years_apart_makes_the_same_bytes(built, tmp_path):
    earlier, later = (around for around in surroundings(tmp_path) if around.name.startswith("ten years"))
    if earlier.needs:
        pytest.skip(earlier.needs)
    builds = [build_in(around, built, tmp_path / str(number)) for number, around in enumerate((earlier, later))]
    assert different(*(outputs(build.folder) for build in builds)) == []
