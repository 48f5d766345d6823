"""Kernels for the layers in the place of torch's own: compiled for the model, or Liger's."""

import os
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any

from ollamake.training.refusal import refusal
from ollamake.training.settings import Settings

INSTALL = "`pip install liger-kernel==0.8.5` in .venv"
WITHOUT_LIGER = "`dvc exp run -S liger_kernel=false`"


def kernels(settings: Settings) -> dict[str, Any]:
    """Return the Trainer's arguments about kernels; of Liger's those for layers, because the loss is our own."""
    return {"torch_compile": settings.torch_compile, "use_liger_kernel": settings.liger_kernel}


def refuse_kernels(settings: Settings, architecture: str) -> None:
    """Raise ParamsError for kernels that this machine cannot make or run, or Liger has not for the `model_type`."""
    if not (settings.torch_compile or settings.liger_kernel):
        return
    from torch import cuda

    compiler = os.environ.get("CXX") or "g++"
    if settings.torch_compile and not (cuda.is_available() or which(compiler)):
        raise refusal(
            f"torch_compile: without a GPU it needs a C++ compiler, and there is no {compiler} here",
            "install it, or `dvc exp run -S torch_compile=false`",
        )
    if not settings.liger_kernel:
        return
    if not cuda.is_available():
        raise refusal("liger_kernel: its kernels run on GPUs, and there is none here", WITHOUT_LIGER)
    if find_spec("liger_kernel") is None:
        raise refusal(
            "liger_kernel needs the package liger-kernel, which is not installed", f"{INSTALL}, or {WITHOUT_LIGER}"
        )
    # An optional package: nothing that the lock file names may depend on its being there.
    if architecture not in import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise refusal(f"liger_kernel: Liger has no kernels for {architecture}", WITHOUT_LIGER)
