"""The quantizations on offer, and how far each may stray from the trained model."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field

QuantizationName = Literal[
    "F16",
    "BF16",
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_1",
    "Q5_0",
    "Q4_K_M",
    "Q4_K_S",
    "Q4_1",
    "Q4_0",
    "IQ4_NL",
    "IQ4_XS",
    "Q3_K_L",
    "Q3_K_M",
    "Q3_K_S",
    "Q2_K",
]


@dataclass(frozen=True)
class Quantization:
    """A number format of llama.cpp, and the bounds of its proof.

    `file_type` is llama.cpp's number for it (general.file_type). The bounds are over the tokens that llama.cpp
    answered greedily: `min_top1` is the share on which the trained model agrees, `max_mean` and `max_p99` limit
    the absolute difference of the log-probabilities, in nats; None where the tail says nothing.
    """

    file_type: int
    min_top1: float
    max_mean: float
    max_p99: float | None = None


# Behind each: top-1, mean (and 99th percentile) as measured with SmolLM2-135M-Instruct on 20 chat prompts, and with the
# model of the default build on its 37 probe prompts, 300 to 500 tokens. The bounds leave room for another model and for
# a proof over 150 tokens (3 points of top-1 for a standard deviation). They need not be tight for the quantized files,
# because these come from the F16 file, whose bounds show every wrong conversion that was planted; the least of them, a
# doubled BOS, has mean 0.084. Without figures: the bounds of the nearest one measured; those below 4 bits are a guess.
QUANTIZATIONS: dict[QuantizationName, Quantization] = {
    "F16": Quantization(1, min_top1=0.98, max_mean=0.02, max_p99=0.1),  # 1.000 0.0014 0.008, 1.000 0.0018 0.009
    "BF16": Quantization(32, min_top1=0.97, max_mean=0.04, max_p99=0.2),  # 0.994 0.0078 0.042
    "Q8_0": Quantization(7, min_top1=0.90, max_mean=0.15),  # 0.967 0.042, 0.971 0.044
    "Q6_K": Quantization(18, min_top1=0.88, max_mean=0.20),  # 0.952 0.076 (only the second was measured)
    # No better than Q4_K_M here: rows of 576 fall back to Q5_1, whose steps do not meet those of the Q4_1 file that the
    # default base model is recovered from.
    "Q5_K_M": Quantization(17, min_top1=0.65, max_mean=0.80),  # 0.797 0.327 (only the second was measured)
    "Q5_K_S": Quantization(16, min_top1=0.65, max_mean=0.80),
    "Q5_1": Quantization(9, min_top1=0.65, max_mean=0.80),
    "Q5_0": Quantization(8, min_top1=0.65, max_mean=0.80),
    "Q4_K_M": Quantization(15, min_top1=0.70, max_mean=0.60),  # 0.905 0.145, 0.820 0.252
    "Q4_K_S": Quantization(14, min_top1=0.70, max_mean=0.60),
    "Q4_1": Quantization(3, min_top1=0.55, max_mean=1.20),
    "Q4_0": Quantization(2, min_top1=0.55, max_mean=1.20),  # 0.753 0.482, 0.700 0.702
    "IQ4_NL": Quantization(25, min_top1=0.55, max_mean=1.20),
    "IQ4_XS": Quantization(30, min_top1=0.55, max_mean=1.20),
    "Q3_K_L": Quantization(13, min_top1=0.35, max_mean=2.00),
    "Q3_K_M": Quantization(12, min_top1=0.35, max_mean=2.00),
    "Q3_K_S": Quantization(11, min_top1=0.35, max_mean=2.00),
    "Q2_K": Quantization(10, min_top1=0.20, max_mean=3.00),
}


def _names(text: Any) -> tuple[QuantizationName, ...]:
    """Return the quantizations that `text` names. Raises ValueError for none, an unknown one, and one named twice."""
    names = text.split() if isinstance(text, str) else ()
    if not names:
        raise ValueError(f"names no quantization; one or more of {', '.join(QUANTIZATIONS)}, with spaces between")
    for name in names:
        if name not in get_args(QuantizationName):
            raise ValueError(f"{name} is none of {', '.join(QUANTIZATIONS)}")
    if len(set(names)) < len(names):
        raise ValueError("names a quantization twice")
    return cast("tuple[QuantizationName, ...]", tuple(names))


QuantizationNames = Annotated[tuple[QuantizationName, ...], BeforeValidator(_names), Field(min_length=1)]
