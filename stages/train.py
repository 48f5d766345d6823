"""Fine-tune the base model on the tokenized conversations."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ollamake.base import RECORD, open_base
from ollamake.stage import StageParams, run

TRAIN, VAL = Path("data/tokenized/train.arrow"), Path("data/tokenized/val.arrow")
PACKS = Path("data/tokenized/packs.arrow")
ADAPTER = Path("models/adapter")
METRICS, PLOTS = Path("metrics/train.json"), Path("plots/train")


class Params(StageParams):
    gradient_accumulation_steps: PositiveInt
    learning_rate: PositiveFloat
    lora_alpha: PositiveInt
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    lora_rank: PositiveInt
    lora_target_modules: Annotated[str, Field(min_length=1)]
    lr_scheduler: Literal["linear", "cosine", "constant"]
    max_grad_norm: PositiveFloat
    max_steps: NonNegativeInt
    num_epochs: PositiveInt
    per_device_batch_size: PositiveInt
    precision: Literal["auto", "bf16", "fp32"]
    train_order: Annotated[str, Field(pattern=r"^(random|given|length|loss|field:.+)$")]
    train_seed: NonNegativeInt
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NonNegativeFloat


def main(params: Params) -> None:
    base = open_base(RECORD)

    from ollamake.sft.log import TrainingLog
    from ollamake.sft.trainer import Tokens, fine_tune

    with TrainingLog(str(METRICS), str(PLOTS)) as log:
        result = fine_tune(base, Tokens(TRAIN, PACKS, VAL), params, ADAPTER, log)
        log.summary.update(result)


if __name__ == "__main__":
    run(Params, main)
