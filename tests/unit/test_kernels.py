"""Compiled layers and Liger's kernels: what the Trainer is told, what is refused, and that the steps stay the same."""

import sys
from types import ModuleType

import pytest
import torch

from ollamake.errors import ParamsError
from ollamake.training import kernels
from ollamake.training.kernels import refuse_kernels
from tests.training import settings


def test_plain_kernels_are_never_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("nothing was asked for"))
    refuse_kernels(settings(), "llama")


def test_the_trainer_is_told(tmp_path):
    from ollamake.training.arguments import training_arguments

    for name, told in (("torch_compile", "torch_compile"), ("liger_kernel", "use_liger_kernel")):
        for wanted in (False, True):
            arguments = training_arguments(settings(**{name: wanted}), torch.device("cpu"), tmp_path)
            assert getattr(arguments, told) is wanted


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ParamsError, match=r"there is no no-such-compiler here\nhint: .*torch_compile=false"):
        refuse_kernels(settings(torch_compile=True), "llama")


def test_liger_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match=r"run on GPUs, and there is none here\nhint: .*liger_kernel=false"):
        refuse_kernels(settings(liger_kernel=True), "llama")


def test_liger_that_is_not_installed_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"not installed\nhint: `pip install liger-kernel==\d"):
        refuse_kernels(settings(liger_kernel=True), "llama")


def test_an_architecture_that_liger_does_not_know_is_refused(monkeypatch):
    package = ModuleType("liger_kernel.transformers.monkey_patch")
    package.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": object()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "find_spec", lambda name: object())
    for name in ("liger_kernel", "liger_kernel.transformers", package.__name__):
        monkeypatch.setitem(sys.modules, name, package)
    refuse_kernels(settings(liger_kernel=True), "llama")
    with pytest.raises(ParamsError, match="Liger has no kernels for opt"):
        refuse_kernels(settings(liger_kernel=True), "opt")
