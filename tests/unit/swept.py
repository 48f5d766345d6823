"""Studies as a sweep leaves them: random search on a function that costs nothing, with the attributes of a driver."""

import json
import math
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from ollamake.files import write_json
from ollamake.sweep.storage import open_storage

SPACE = {
    "lora_rank": {"choices": [4, 8, 16, 32]},
    "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "lr_scheduler": {"choices": ["cosine", "constant", "linear"]},
    "warmup_ratio": {"low": 0.0, "high": 0.3, "step": 0.1, "when": {"lr_scheduler": ["cosine", "linear"]}},
}
DEFAULT = {"metrics": {"rouge_l": 0.444, "loss": 1.66}, "params": {"lora_rank": 8}}


def sweep(
    name: str, trials: int, url: str | None = None, objective: Mapping[str, str] | None = None, *, seed: int = 1
) -> optuna.Study:
    """Run a sweep of random points, every fifth pruned, the fourth failed, and return its study."""
    objective = objective or {"rouge_l": "maximize"}
    study = optuna.create_study(
        storage=open_storage(url, name), study_name=name, directions=list(objective.values()),
        sampler=optuna.samplers.RandomSampler(seed=seed),
    )  # fmt: skip
    spec = {"name": name, "objective": objective, "sampler": "random", "pruner": "median", "seed": seed, "space": SPACE}
    study.set_user_attr("spec", json.dumps(spec))
    study.set_user_attr("default", DEFAULT)
    dice = random.Random(seed)  # noqa: S311 - it is no secret
    for number in range(trials):
        trial = study.ask()
        params = suggest(trial)
        metrics = measure(params, dice)
        if len(objective) == 1:
            for step in range(1, 4 if number % 5 == 4 else 7):
                trial.report(2 / (1 + step) + (0.8 if number % 5 == 4 else 0.0) - metrics["rouge_l"], step)
        attributes(trial, params, metrics, number)
        if number == 3:
            trial.set_user_attr("error", "train: the loss is no number at step 3 | <script>alert(1)</script>")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number % 5 == 4:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, [metrics[each] for each in objective])
    return study


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    params: dict[str, Any] = {
        "lora_rank": trial.suggest_categorical("lora_rank", SPACE["lora_rank"]["choices"]),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        "lr_scheduler": trial.suggest_categorical("lr_scheduler", SPACE["lr_scheduler"]["choices"]),
    }
    if params["lr_scheduler"] != "constant":
        params["warmup_ratio"] = trial.suggest_float("warmup_ratio", 0.0, 0.3, step=0.1)
    return params


def measure(params: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    distance = abs(math.log10(params["learning_rate"]) + 3.5)
    rouge_l = 0.5 - 0.12 * distance + 0.02 * math.log2(params["lora_rank"]) / 5 + dice.gauss(0, 0.01)
    return {"rouge_l": rouge_l, "loss": 1.5 + distance**2}


def attributes(trial: optuna.Trial, params: Mapping[str, Any], metrics: Mapping[str, Any], number: int) -> None:
    found = {
        "overrides": {
            name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in params.items()
        },
        "metrics": metrics,
        "seconds": 30.0 + 3 * params["lora_rank"],
        "ran": ["train", "evaluate"],
        "experiment": f"sweep-{number:03}",
        "machine": f"machine{number % 2}",
    }
    for name, value in found.items():
        trial.set_user_attr(name, value)


def experiment(metrics: Mapping[str, Any]) -> str:
    """Commit metrics/evaluate.json with an interval of 0.05 to each side, and return the commit."""
    intervals = {name: [value - 0.05, value + 0.05] for name, value in metrics.items()}
    write_json(Path("metrics/evaluate.json"), {**metrics, "intervals": intervals})
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "add", "metrics"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "trial"], check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
