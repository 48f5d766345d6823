"""How much memory a training needs: an estimate to rent a machine by, not a measurement."""

from dataclasses import dataclass

from ollamake.training.settings import Settings

# Bytes of a trained weight: itself and its gradient in float32, and two moments of Adam.
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
FROZEN = 2  # in bfloat16, beside an adapter
QUANTIZED = {4: 0.6, 8: 1.1}  # with scales, and with the embeddings that stay as they are
# An adapter of rank 16 on every linear layer of a 7B model has 0.6 % as many weights; smaller models have more.
ADAPTER_SHARE, ADAPTER_RANK = 0.01, 16
# Bytes per token, layer and unit of width: everything a layer keeps for the way back, or its input alone
# (Korthikanti et al. 2022, §4.1, without the attention matrix, which is not kept).
ACTIVATIONS, CHECKPOINTED = 34, 2
LAYERS_TO_WIDTH, WEIGHTS_OF_A_LAYER = 128, 12  # width = 128 × layers; a layer has 12 × width² weights
LIBRARIES_BYTES = 1.5e9
MARGIN = 1.15  # what the allocator cannot use

FORMULA = "(weights + adapter + activations + 1.5 GB) × 1.15, in GB of 10^9 bytes"


@dataclass(frozen=True)
class Estimate:
    """Bytes on each GPU, by what takes them."""

    weights: float
    adapter: float
    activations: float

    @property
    def total(self) -> float:
        """Bytes on each GPU, with the libraries and a margin."""
        return (self.weights + self.adapter + self.activations + LIBRARIES_BYTES) * MARGIN

    def __str__(self) -> str:
        trained = "weights" if self.adapter else "weights with gradients and moments"
        parts = {trained: self.weights, "adapter": self.adapter, "activations": self.activations}
        named = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items() if size)
        return f"{self.total / 1e9:.0f} GB on each GPU ({named})"


def estimate(settings: Settings, parameters: int, max_length: int) -> Estimate:
    """Return what a model of so many parameters takes on each GPU, with rows of at most `max_length` tokens.

    With method full, `weights` includes their gradients and Adam's moments.
    """
    adapter = 0.0 if settings.method == "full" else parameters * ADAPTER_SHARE * settings.lora_rank / ADAPTER_RANK
    width = (parameters * LAYERS_TO_WIDTH / WEIGHTS_OF_A_LAYER) ** (1 / 3)
    kept = CHECKPOINTED if settings.gradient_checkpointing else ACTIVATIONS
    return Estimate(
        weights=parameters * weight_bytes(settings),
        adapter=adapter * (WEIGHT + GRADIENT + MOMENTS),
        activations=settings.per_device_batch_size * max_length * kept * width * width / LAYERS_TO_WIDTH,
    )


def weight_bytes(settings: Settings) -> float:
    """Return the bytes that a weight of the base model takes on each GPU, with what belongs to it."""
    processes = settings.num_processes * settings.num_nodes
    shared = {"fsdp": 3, "deepspeed": settings.deepspeed_stage}.get(settings.distributed, 0) if processes > 1 else 0
    if settings.method == "qlora":
        return QUANTIZED[settings.qlora_bits]
    if settings.method == "lora":
        return FROZEN / (processes if shared == 3 else 1)
    # ZeRO's stages: the moments are shared out first, then the gradients, then the weights.
    parts = zip((MOMENTS, GRADIENT, WEIGHT), (1, 2, 3), strict=True)
    return sum(size / (processes if shared >= stage else 1) for size, stage in parts)
