"""How a GGUF file stretches its rope: what transformers' loader leaves out in silence, so that long texts go wrong."""

import math
from typing import Any

from ollamake.errors import BaseModelError
from ollamake.resolve.gguf_file import GgufFile

FACTORS = "rope_freqs.weight"
# Of every Llama 3.1, 3.2 and 3.3; the converter to GGUF keeps only the factors that come of them.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
TOLERANCE = 1e-4
HINT = "set base_model to the hub id of the original model, whose config.json tells it all"


def rope_scaling(gguf: GgufFile) -> dict[str, Any]:
    """Return what config.json has to say in `rope_parameters` beside the base: nothing, or that of Llama 3.1 and later.

    Raises BaseModelError for any other scaling.
    """
    kind = gguf.get(f"{gguf.architecture}.rope.scaling.type")
    if kind not in (None, "none"):
        raise BaseModelError(f"scales its rope by {kind}, which is not taken over", where=str(gguf.path), hint=HINT)
    factors = gguf.tensor(FACTORS)
    if factors is None:
        return {}
    found = [float(factor) for factor in factors]
    scaling = {"rope_type": "llama3", "factor": max(found), **LLAMA3}
    base = float(gguf.require(f"{gguf.architecture}.rope.freq_base"))
    expected = llama3_factors(scaling, base, len(found))
    if any(abs(one - other) > TOLERANCE * other for one, other in zip(found, expected, strict=True)):
        raise BaseModelError("scales its rope otherwise than Llama 3.1 does", where=str(gguf.path), hint=HINT)
    return scaling


def llama3_factors(scaling: dict[str, Any], base: float, count: int) -> list[float]:
    """Return by how much each frequency is divided, as llama.cpp's converter and transformers compute it."""
    original, low, high = (
        float(scaling[key]) for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )

    def factor(turns: float) -> float:
        """By the number of turns that the frequency makes within the original context."""
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        return float(1 / ((1 - smooth) / scaling["factor"] + smooth))

    return [factor(original * base ** (-place / count) / (2 * math.pi)) for place in range(count)]
