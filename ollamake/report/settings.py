"""The parameters that the report tells of."""

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ollamake.gguf.quantizations import QuantizationNames
from ollamake.params import StageParams


class Settings(StageParams):
    """What the report names, of what the build was made with."""

    data_source: str
    gate_max_regression: NonNegativeFloat
    gate_min_gain: float
    gguf_quantization: QuantizationNames
    learning_rate: PositiveFloat
    lora_alpha: PositiveInt
    lora_rank: PositiveInt
    lr_scheduler: str
    max_steps: NonNegativeInt
    method: str
    num_epochs: PositiveInt
    ollama_model: str
    optimizer: str
    system_prompt: str
    task: str
    train_seed: int
