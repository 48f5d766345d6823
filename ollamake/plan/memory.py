"""How much memory a stage will hold at its peak, by what takes it.

The sizes of weights, gradients and moments are arithmetic; the constants below were measured. `python -m
benchmarks.plan` prints what they predict against what is measured, part by part: correct them here.
"""

import math

from ollamake.cloud.estimate import GRADIENT, MOMENTS, QUANTIZED, WEIGHT
from ollamake.plan.disk import gguf_bytes
from ollamake.plan.work import Conversion, Scoring, Training

# Python with torch, transformers, TRL and PEFT, all of its threads and a warmed-up allocator.
TRAINING_LIBRARIES, SCORING_LIBRARIES, PEFT = 600e6, 560e6, 40e6
# oneDNN's machine code for 128 shapes of matrix products in bfloat16 (ollamake/stage.py), and the steps until it has
# met so many.
KERNELS, STEPS_TO_MEET_THEM = 525e6, 25
# Bytes of a logit while its loss and gradient are computed, in pieces (ollamake/training/cross_entropy.py).
LOGIT, PIECE_ROWS = 12, 512
# Bytes of a weight of the output matrix while its own gradient is made, in method full.
HEAD_GRADIENT = 40
# Bytes per token, layer and unit of width that a layer keeps for the way back; with gradient checkpointing its input.
CPU_ACTIVATION, GPU_ACTIVATION, CHECKPOINTED = 80, 34, 4
SAMPLES = 85e6  # what answering a few prompts leaves behind
# Bytes per logit of the tokens that the loss of the scores is computed of at once.
SCORED_LOGIT = 3
# Bytes per token of the prompts that are read at once and unit of a feed-forward layer's width; with PEFT's layers.
READ, READ_WITH_ADAPTER = 16, 26
# Python with torch, transformers and PEFT; Python with llama.cpp; what comes to a layer's weights while it computes.
CONVERSION_LIBRARIES, RUNTIME, PASS = 545e6, 150e6, 1.25
FP32, BF16 = 4, 2
CUDA = 0.6e9
MOMENTS_OF = {"sgd": 4.0, "adafactor": 0.1, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0}

Parts = dict[str, float]


def of_training(work: Training, *, gpu: bool) -> Parts:
    """Return the bytes that train takes at its peak, by what takes them."""
    shape, content = work.shape, work.content
    width = work.batch * shape.layers * shape.hidden
    kept = GPU_ACTIVATION if gpu else CPU_ACTIVATION
    if content["gradient_checkpointing"]:
        # One layer at a time is computed again, and then keeps everything.
        activations = width * (CHECKPOINTED + (kept - CHECKPOINTED) / shape.layers)
    else:
        activations = width * kept
    trained_head = HEAD_GRADIENT * shape.head if content["method"] == "full" else 0
    met = 0.0 if gpu or not work.bf16 else KERNELS * (1 - math.exp(-work.steps / STEPS_TO_MEET_THEM))
    return {
        "libraries": CUDA if gpu else TRAINING_LIBRARIES,
        "kernels": met,
        "weights": _weights(work),
        "what is trained": work.trainable * _trained(work),
        "activations": activations,
        "logits": min(PIECE_ROWS, work.batch_supervised) * shape.vocabulary * LOGIT + trained_head,
        "samples": 0.0 if gpu or not work.calls else SAMPLES,
    }


def _weights(work: Training) -> float:
    """Return the bytes of the base model's weights; with method full these are counted with what is trained."""
    content, count = work.content, work.shape.parameters
    if content["method"] == "full":
        return BF16 * count if work.bf16 else 0.0  # autocast's copies
    if content["method"] == "qlora":
        return QUANTIZED[content["qlora_bits"]] * count
    moved = content["lora_init"].startswith(("olora", "pissa"))
    return (BF16 if work.bf16 and not moved else FP32) * count


def _trained(work: Training) -> float:
    return WEIGHT + GRADIENT + MOMENTS_OF.get(work.content["optimizer"], MOMENTS)


def of_scoring(work: Scoring, *, gpu: bool) -> Parts:
    """Return the bytes that baseline or evaluate takes at its peak, by what takes them."""
    shape = work.shape
    number = BF16 if gpu and work.bf16 else FP32  # on a CPU answers are computed in fp32
    read = READ_WITH_ADAPTER if work.trainable else READ
    answers = number * work.held * shape.layers * shape.key_value + read * work.prompts * shape.intermediate
    logits = SCORED_LOGIT * work.at_once * shape.vocabulary
    return {
        "libraries": CUDA if gpu else SCORING_LIBRARIES,
        "weights": number * shape.parameters + (0 if gpu else BF16 * shape.parameters),
        "adapter": FP32 * work.trainable + (PEFT if work.trainable and not gpu else 0),
        "loss or answers": max(logits, answers),  # one after the other
    }


def of_conversion(work: Conversion) -> Parts:
    """Return the bytes that convert takes at its peak, by what takes them; always on the CPU.

    First llama.cpp holds the F16 file, then torch the trained model, a layer or the output matrix at a time.
    """
    shape = work.shape
    served = {"libraries": RUNTIME, "llama.cpp": gguf_bytes("F16", shape.parameters)}
    largest = FP32 * max(shape.head, shape.body / shape.layers)
    trained = {"libraries": CONVERSION_LIBRARIES, "largest layer": PASS * largest, "adapter": FP32 * work.trainable}
    return max(served, trained, key=lambda parts: sum(parts.values()))
