"""Other places to watch a training in, beside DVC: TensorBoard, W&B and MLflow, through transformers' own callbacks."""

import netrc
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ollamake.errors import ParamsError
from ollamake.training.journal import logs_folder, stamp

PROJECT = "ollamake"


def require_reporter(report_to: str) -> None:
    """Raise ParamsError when the package of a reporter is not installed."""
    if report_to != "none" and find_spec(report_to) is None:
        raise ParamsError(
            f"report_to: {report_to} is not installed",
            where="params.yaml",
            hint=f"`.venv/bin/pip install {report_to}`, or `dvc exp run -S report_to=none`: DVCLive logs in any case",
        )


def reporter(report_to: str) -> Any:
    """Return the callback that `report_to` names. What it writes goes to logs/, unless the user set it up otherwise."""
    from transformers.integrations import MLflowCallback, TensorBoardCallback, WandbCallback

    folder = logs_folder().absolute() / report_to
    folder.mkdir(parents=True, exist_ok=True)
    if report_to == "tensorboard":
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / stamp()))
        return TensorBoardCallback()
    if report_to == "wandb":
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        os.environ.setdefault("WANDB_DIR", str(folder))
        if not _logged_in():
            os.environ.setdefault("WANDB_MODE", "offline")
        return WandbCallback()
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)
    return MLflowCallback()


def _logged_in() -> bool:
    """Tell whether W&B would know who the user is, without asking it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(Path.home() / ".netrc").authenticators("api.wandb.ai") is not None
    return False
