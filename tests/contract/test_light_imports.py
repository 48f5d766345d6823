"""What runs often, or before any training, starts without the libraries that take seconds to import."""

import subprocess
import sys

import pytest

from tests.contract.graph import ROOT

HEAVY = {"torch", "transformers", "datasets", "peft", "trl", "accelerate"}
LIGHT = (
    *("stages.collect", "stages.prepare", "stages.distill", "stages.tokenize"),
    *("stages.gate", "stages.judge", "stages.report", "stages.export", "ollamake.cli"),
)


@pytest.mark.parametrize("module", LIGHT)
def test_the_module_imports_no_heavy_library(module):
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stderr == ""
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert module.split(".")[0] in loaded
    assert loaded & HEAVY == set()
