"""`make audit` passes only when every locked package was looked up."""

import json
import sys
from pathlib import Path

import pytest

from ollamake.errors import OllamakeError
from ollamake.supply import audit as audited
from tests.contract.graph import ROOT

pytestmark = pytest.mark.row("R6.8")
GOOD = [{"name": "one", "version": "1.0", "vulns": []}, {"name": "two-b", "version": "2.0", "vulns": []}]
WEAK = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": "…"}


@pytest.fixture
def locks(tmp_path):
    """Two lock files with a package each."""
    (tmp_path / "a.lock").write_text("--require-hashes\none==1.0 \\\n    --hash=sha256:00\n")
    (tmp_path / "b.lock").write_text("two-b==2.0 ; sys_platform == 'plan9' \\\n    --hash=sha256:00\n")
    return [tmp_path / "a.lock", tmp_path / "b.lock"]


def tool(folder, said, code=0):
    """A pip-audit that answers, if it is asked for both packages."""
    path = folder / "pip-audit"
    asked = "{'one==1.0', 'two-b==2.0'} == set(open(sys.argv[-1]).read().split())"
    path.write_text(f"#!{sys.executable}\nimport sys\nassert {asked}\nprint({said!r})\nsys.exit({code})\n")
    path.chmod(0o755)
    return str(path)


def answer(*dependencies):
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


def test_it_says_how_many_packages_were_looked_up(tmp_path, locks):
    assert audited.audit(tool(tmp_path, answer(*GOOD)), locks).startswith("2 packages looked up on 20")


@pytest.mark.parametrize(
    ("dependencies", "problem"),
    [
        ([GOOD[0], {"name": "two-b", "skip_reason": "not found"}], "1 of 2 packages could not be looked up: two-b"),
        ([GOOD[0]], "1 of 2 packages could not be looked up: two-b"),
        ([], "2 of 2 packages could not be looked up: one, two-b"),
        ([GOOD[1], {**GOOD[0], "vulns": [WEAK]}], r"one 1.0: PYSEC-2026-1 \(mended in 1.1\)"),
    ],
)
def test_what_was_skipped_or_is_vulnerable_is_no_pass(tmp_path, locks, dependencies, problem):
    with pytest.raises(OllamakeError, match=problem):
        audited.audit(tool(tmp_path, answer(*dependencies)), locks)


def test_without_a_network_it_fails_with_the_last_words_of_the_tool(tmp_path, locks, monkeypatch, capsys):
    offline = tool(tmp_path, "", code=1)
    Path(offline).write_text(f"#!{sys.executable}\nraise SystemExit('ConnectionError: no such host')\n")
    monkeypatch.setattr(sys, "argv", ["audit", offline, *map(str, locks)])
    with pytest.raises(SystemExit) as left:
        audited.main()
    assert left.value.code == 1
    assert "nothing was looked up: ConnectionError: no such host" in capsys.readouterr().err


def test_all_that_is_installed_is_asked_for():
    """The build of torch without CUDA is no version that the service knows; the same version with CUDA is asked for."""
    recipe = (ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert "$(filter-out requirements-cpu.lock,$(LOCKS))" in recipe
    assert "\n\t-" not in recipe
    assert "|| true" not in recipe
