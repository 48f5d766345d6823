"""What a training has come to: every figure and every decision here is a function of the Trainer's `log_history` alone.

A resumed training has its history back, and with it the same curves, the same best models and the same end.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, linear_regression
from typing import Any, NamedTuple

History = Sequence[Mapping[str, Any]]

# The file in plots/train/metrics, and the key of an entry of the history that it shows.
SERIES = {
    "train_loss": "loss",
    "val_loss": "eval_loss",
    "overfitting_gap": "overfitting_gap",
    "learning_rate": "learning_rate",
    "gradient_norm": "grad_norm",
    "tokens_per_second": "tokens_per_second",
    "rewards_accuracy": "eval_rewards_accuracy",
    "rewards_margin": "eval_rewards_margin",
    "memory": "memory_mb",
    "gpu_utilization": "gpu_percent",
}
EXPLODED_STEPS, EXPLODED_FACTOR = 3, 2
# A share of ln(vocabulary), which a model pays for a token when it knows nothing: the usual end of a divergence is that
# all tokens become equally likely, never exactly.
KNOWS_NOTHING = 0.9


class Validation(NamedTuple):
    """One look at the validation data; losses in nats, `train_loss` the mean of the steps since the one before."""

    step: int
    epoch: float
    val_loss: float
    train_loss: float

    @property
    def gap(self) -> float:
        """How much worse the model is on what it has not seen: the sign of overfitting when it grows."""
        return self.val_loss - self.train_loss


def figures(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return what an entry adds to the curves: name of the series to value."""
    return {name: entry[key] for name, key in SERIES.items() if key in entry}


def validations(history: History) -> list[Validation]:
    """Return every validation so far, in order."""
    found, losses = [], []
    for entry in history:
        if "loss" in entry:
            losses.append(entry["loss"])
        elif "eval_loss" in entry:
            found.append(Validation(entry["step"], entry["epoch"], entry["eval_loss"], fmean(losses)))
            losses.clear()
    return found


def best_steps(seen: Sequence[Validation], count: int) -> list[int]:
    """Return the steps of the `count` lowest validation losses, the lowest first; of equal ones the earlier."""
    return [one.step for one in sorted(seen, key=lambda one: (one.val_loss, one.step))[:count]]


def out_of_patience(losses: Sequence[float], patience: int, min_delta: float) -> bool:
    """Tell whether the last `patience` validations brought no gain; `patience` 0 waits for ever.

    A gain is a loss more than `min_delta` nats below the last gain, so that many small steps down add up to one.
    """
    best, waited = math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best - min_delta else (best, waited + 1)
    return 0 < patience <= waited


def divergence(history: History, vocabulary: int) -> str | None:
    """Return what is wrong when the last entry shows that training has diverged, else None.

    A loss has exploded when `EXPLODED_STEPS` steps in a row were as bad as those of a model that knows nothing, and
    worse than `EXPLODED_FACTOR` times the first step. One such step is a bad batch that training gets over; the second
    bound leaves room to base models that start badly, and to losses on another scale.
    """
    last = history[-1]
    if not math.isfinite(last.get("eval_loss", 0.0)):
        return f"the validation loss is {last['eval_loss']}{_before(history, 'eval_loss')}"
    for key, name in (("loss", "loss"), ("grad_norm", "gradient norm")):
        if not math.isfinite(last.get(key, 0.0)):
            return f"the {name} is {last[key]}{_before(history, 'loss')}"
    if "loss" not in last:
        return None
    recent = [entry["loss"] for entry in history[-2 * EXPLODED_STEPS :] if "loss" in entry][-EXPLODED_STEPS:]
    first = next(entry["loss"] for entry in history if "loss" in entry)
    limit = max(EXPLODED_FACTOR * first, KNOWS_NOTHING * math.log(vocabulary))
    if len(recent) == EXPLODED_STEPS and min(recent) > limit:
        rise = ", ".join(f"{loss:.4g}" for loss in recent)
        return f"the loss has been above {limit:.3g} for {EXPLODED_STEPS} steps ({rise}) and began at {first:.4g}"
    return None


def _before(history: History, key: str) -> str:
    earlier = [entry for entry in history[:-1] if key in entry]
    name = "loss" if key == "loss" else "validation loss"
    return f", and the {name} was {earlier[-1][key]:.4g} at step {earlier[-1]['step']}" if earlier else ""


def overfitting(seen: Sequence[Validation]) -> dict[str, Any]:
    """Return the last gap (nats), its trend (nats an epoch; left out for a single validation) and a verdict."""
    last, best = seen[-1], best_steps(seen, 1)[0]
    result: dict[str, Any] = {"gap": last.gap}
    if len(seen) > 1:
        result["trend"] = linear_regression([one.epoch for one in seen], [one.gap for one in seen]).slope
    grows = result.get("trend", 0) > 0 and best < last.step
    return {**result, "verdict": f"since step {best}" if grows else "none"}


def summary(history: History) -> dict[str, Any]:
    """Return what the training came to; losses in nats, `seconds` with validations and without interruptions."""
    seen = validations(history)
    steps = [entry for entry in history if "loss" in entry]
    best = min(seen, key=lambda one: (one.val_loss, one.step))
    last = next(entry for entry in reversed(history) if "eval_loss" in entry)
    early = {"stopped_early": seen[-1].step} if any("stopped_early" in entry for entry in history) else {}
    return {
        "train_loss": seen[-1].train_loss,
        "val_loss": seen[-1].val_loss,
        "best_val_loss": best.val_loss,
        "best_step": best.step,
        "overfitting": overfitting(seen),
        **{name: last[key] for name, key in SERIES.items() if name.startswith("rewards") and key in last},
        "steps": steps[-1]["step"],
        **early,
        "tokens": steps[-1]["tokens"],
        "seconds": round(sum(entry.get("seconds", 0.0) for entry in history), 1),
        "tokens_per_second": round(steps[-1]["tokens"] / sum(entry["seconds"] for entry in steps), 1),
        "peak_memory_mb": max(entry["memory_mb"] for entry in steps),
    }
