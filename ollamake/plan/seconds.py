"""How long a stage will take, by what takes it.

The constants are of two cores of a Xeon with AMX, in processor seconds of one thread (two threads take about as many
seconds of the clock), and correct to 30 % there; on another machine they may be off several times, until its own runs
correct them. `python -m benchmarks.plan` prints what they predict against what is measured: correct them here.
"""

from ollamake.plan.work import Conversion, Scoring, Training

# From the start of Python to the first step, the first answer, the first row.
TRAINING_START, SCORING_START, PEFT_START, CONVERSION_START, SMALL_START = 8.5, 6.5, 2.5, 6.0, 1.5
STEP = 0.015  # optimizer and log
HEAD_STEP = 20e-9  # of a weight of the output matrix whose own gradient is made, in method full
# Of a layer: what a forward and a backward pass cost however few tokens they have, and a forward pass alone.
PASS, FORWARD = 0.0075, 0.002
# Per token, layer and unit of width: passes over memory, forwards and backwards; forwards alone take a third.
ELEMENT, FORWARD_SHARE = 122e-9, 1 / 3
LOGIT = 8.6e-9
# Operations a second of matrix products: in bfloat16, and in fp32.
BF16_RATE, FP32_RATE = 0.75e12, 0.3e12
GPU_SPEEDUP = 100  # a guess: nothing has been measured on a GPU
RECOMPUTED = 4 / 3  # with gradient checkpointing
REFERENCE = 4 / 3  # dpo and kto: the model that answers are held against reads them too
# Of a GGUF file, fixed and per parameter: writing F16, quantizing another one.
FILE, WRITTEN, QUANTIZED = 3.0, 12e-9, 15e-9
# Of a token that llama.cpp answers with, per layer, and its operations a second.
ANSWERED, LLAMA_RATE = 0.0001, 0.045e12
# Of the trained model's passes over all that was answered, per layer and per parameter.
JUDGED_LAYER, JUDGED = 0.4, 40e-9
ROWS_PER_SECOND = {"prepare": 8_000, "tokenize": 4_000}

Parts = dict[str, float]


def of_training(work: Training, *, gpu: bool) -> Parts:
    """Return the seconds of train, by what takes them."""
    shape, full = work.shape, work.content["method"] == "full"
    rate = BF16_RATE if work.bf16 else FP32_RATE
    # Two operations a weight forwards, two for the way back to the activations, two more for the weights themselves.
    operations = work.tokens * shape.body * (6 if full else 4) + work.supervised * shape.head * (6 if full else 4)
    again = RECOMPUTED if work.content["gradient_checkpointing"] else 1.0
    again *= REFERENCE if work.content["task"] in ("dpo", "kto") else 1.0
    width = shape.layers * shape.hidden
    computing = (
        work.batches * (shape.layers * PASS + (shape.head * HEAD_STEP if full else 0))
        + work.tokens * width * ELEMENT
        + operations / rate
        + work.supervised * shape.vocabulary * LOGIT
    )
    validating = work.read * (width * ELEMENT * FORWARD_SHARE + 2 * shape.body / rate)
    sampling = work.calls * shape.layers * FORWARD
    return {
        "start": TRAINING_START,
        "steps": work.steps * STEP + computing * again / _speedup(gpu),
        "validations": (validating + sampling) / _speedup(gpu),
    }


def of_scoring(work: Scoring, *, gpu: bool) -> Parts:
    """Return the seconds of baseline or evaluate, by what takes them."""
    shape = work.shape
    token = shape.layers * shape.hidden * ELEMENT * FORWARD_SHARE + 2 * shape.body / FP32_RATE
    reading = work.read * token
    answering = work.calls * shape.layers * FORWARD + work.answered * (token + 2 * shape.head / FP32_RATE)
    return {
        "start": SCORING_START + (PEFT_START if work.trainable else 0),
        "loss": reading / _speedup(gpu),
        "answers": answering / _speedup(gpu),
    }


def of_conversion(work: Conversion) -> Parts:
    """Return the seconds of convert, by what takes them; always on the CPU."""
    shape, files = work.shape, len(work.names)
    token = shape.layers * ANSWERED + 2 * shape.parameters / LLAMA_RATE
    return {
        "start": CONVERSION_START,
        "files": files * FILE + shape.parameters * (WRITTEN + QUANTIZED * (files - 1)),
        "proof": files * work.answered * token + shape.layers * JUDGED_LAYER + shape.parameters * JUDGED,
    }


def of_rows(stage: str, rows: int) -> Parts:
    """Return the seconds of prepare or tokenize."""
    return {"start": SMALL_START, "rows": rows / ROWS_PER_SECOND[stage]}


def _speedup(gpu: bool) -> float:
    return GPU_SPEEDUP if gpu else 1.0
