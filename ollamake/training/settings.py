"""Every parameter of training, with the combinations that make no sense refused before any work."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ollamake.params import StageParams

Task = Literal["sft", "pretrain", "dpo", "kto"]
Method = Literal["lora", "qlora", "full"]
Share = Annotated[float, Field(ge=0, lt=1)]


class LoraSettings(StageParams):
    """The adapter of the methods lora and qlora, and the quantized base model of qlora."""

    lora_alpha: PositiveInt
    lora_bias: Literal["none", "all", "lora_only"]
    lora_dora: bool
    lora_dropout: Share
    lora_init: Annotated[str, Field(pattern=r"^(default|gaussian|orthogonal|olora|pissa|pissa_niter_[1-9]\d*)$")]
    lora_rank: PositiveInt
    lora_rslora: bool
    lora_target_modules: Annotated[str, Field(min_length=1)]
    qlora_bits: Literal[4, 8]
    qlora_compute: Literal["auto", "bf16", "fp16", "fp32"]
    qlora_double_quant: bool
    qlora_type: Literal["nf4", "fp4"]


class OptimizerSettings(StageParams):
    """The optimizer, its schedule, and what else acts on a step."""

    adam_beta1: Share
    adam_beta2: Share
    adam_epsilon: PositiveFloat
    gradient_accumulation_steps: PositiveInt
    gradient_checkpointing: bool
    label_smoothing: Share
    learning_rate: PositiveFloat
    lr_cycles: PositiveInt
    lr_power: PositiveFloat
    lr_scheduler: Literal["linear", "cosine", "constant", "polynomial", "cosine_restarts"]
    max_grad_norm: NonNegativeFloat
    max_steps: NonNegativeInt
    neftune_noise_alpha: NonNegativeFloat
    num_epochs: PositiveInt
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"]
    per_device_batch_size: PositiveInt
    sgd_momentum: Share
    warmup_ratio: Share
    warmup_steps: NonNegativeInt
    weight_decay: NonNegativeFloat


class WatchSettings(StageParams):
    """How training is watched, kept and stopped."""

    checkpoint_seconds: NonNegativeInt
    debug: bool
    early_stopping_min_delta: NonNegativeFloat
    early_stopping_patience: NonNegativeInt
    keep_best: NonNegativeInt
    profile: bool
    report_to: Literal["none", "tensorboard", "wandb", "mlflow"]
    val_every_steps: NonNegativeInt
    val_samples: NonNegativeInt
    val_samples_max_new_tokens: PositiveInt


class MachineSettings(StageParams):
    """On what training runs."""

    dataloader_pin_memory: bool
    dataloader_prefetch: PositiveInt
    dataloader_workers: NonNegativeInt
    deepspeed_stage: Literal[1, 2, 3]
    distributed: Literal["none", "ddp", "fsdp", "deepspeed"]
    liger_kernel: bool
    num_nodes: PositiveInt
    num_processes: PositiveInt
    precision: Literal["auto", "bf16", "fp32"]
    torch_compile: bool


class PreferenceSettings(StageParams):
    """What the tasks dpo and kto weigh."""

    dpo_loss: Literal["sigmoid", "hinge", "ipo", "robust"]
    kto_desirable_weight: PositiveFloat
    kto_undesirable_weight: PositiveFloat
    preference_beta: PositiveFloat


class Settings(LoraSettings, OptimizerSettings, WatchSettings, MachineSettings, PreferenceSettings):
    """Everything that the train stage reads from params.yaml."""

    method: Method
    task: Task
    train_order: Annotated[str, Field(pattern=r"^(random|grouped|given|length|loss|field:.+)$")]
    train_seed: NonNegativeInt

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and warmup_ratio {self.warmup_ratio:g}; set one of them to 0"
            )
        if self.distributed == "none" and self.num_processes * self.num_nodes > 1:
            raise ValueError(
                f"num_processes is {self.num_processes} and num_nodes {self.num_nodes}, but distributed is none; "
                "ddp, fsdp or deepspeed share the work out"
            )
        return self

    @model_validator(mode="after")
    def _start(self) -> "Settings":
        if self.lora_init == "orthogonal" and self.lora_rank % 2:
            raise ValueError(f"lora_rank is {self.lora_rank}, and lora_init: orthogonal needs an even one")
        if self.method == "qlora" and self.lora_bias != "none":
            raise ValueError(f"lora_bias is {self.lora_bias}, but bitsandbytes rounds the biases of qlora: use none")
        if not self.lora_init.startswith(("olora", "pissa")):
            return self
        if self.method == "qlora":
            raise ValueError(
                f"lora_init is {self.lora_init}, which takes the adapter out of the base weights; those of qlora are "
                "quantized, so use another lora_init, or method: lora"
            )
        if self.distributed in ("fsdp", "deepspeed"):
            raise ValueError(
                f"lora_init is {self.lora_init}, which needs the whole weights; distributed: {self.distributed} shares "
                "them out"
            )
        return self

    @model_validator(mode="after")
    def _judge(self) -> "Settings":
        if self.task not in ("dpo", "kto"):
            return self
        if self.task == "kto" and self.per_device_batch_size < 2:
            raise ValueError(
                "per_device_batch_size is 1, and kto measures answers by the others of a batch: at least 2"
            )
        if self.label_smoothing and not (self.task == "dpo" and self.dpo_loss == "robust"):
            raise ValueError(
                f"label_smoothing is {self.label_smoothing:g}; in dpo only dpo_loss: robust has it, kto never"
            )
        if self.label_smoothing >= 0.5:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing:g}, the share of pairs the wrong way round: below 0.5"
            )
        if self.neftune_noise_alpha:
            raise ValueError(
                f"neftune_noise_alpha is {self.neftune_noise_alpha:g}; in dpo and kto the model's answers are measured "
                "against the base model's, and the noise would act on both"
            )
        return self
