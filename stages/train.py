"""Fine-tune the base model on the tokenized rows."""

from pathlib import Path

from ollamake.base import RECORD, open_base
from ollamake.stage import run
from ollamake.training.kernels import refuse_kernels
from ollamake.training.launch import launch, launches, one_of_several, refuse_unsuitable
from ollamake.training.quantized import leave_out, refuse_unable
from ollamake.training.reporters import require_reporter
from ollamake.training.settings import Settings

TRAIN, VAL = Path("data/tokenized/train.arrow"), Path("data/tokenized/val.arrow")
PACKS = Path("data/tokenized/packs.arrow")
TUNED, CHECKPOINTS = Path("models/tuned"), Path("models/checkpoints")
METRICS, PLOTS = Path("metrics/train.json"), Path("plots/train")


class Params(Settings):
    """All of them, as they stand in ollamake/training/settings.py by their purpose."""


def main(params: Params) -> None:
    require_reporter(params.report_to)
    refuse_unsuitable(params)
    refuse_unable(params)
    leave_out(params)
    if launches(params):
        open_base(RECORD)
        launch(params, "stages.train")
        return
    with one_of_several():
        train(params)


def train(params: Params) -> None:
    base = open_base(RECORD)
    refuse_kernels(params, base.config["model_type"])

    from ollamake.training.checkpoint import reserved
    from ollamake.training.fingerprint import fingerprint
    from ollamake.training.interruption import ignore_signals

    with reserved(fingerprint(base, (TRAIN, PACKS, VAL), params)) as checkpoints:
        from ollamake.training.log import TrainingLog
        from ollamake.training.trainer import Tokens, fine_tune

        with TrainingLog(str(METRICS), str(PLOTS)) as log:
            result = fine_tune(base, Tokens(TRAIN, PACKS, VAL), params, TUNED, log, checkpoints, CHECKPOINTS)
            log.summary.update(result)
        ignore_signals()


if __name__ == "__main__":
    run(Params, main)
