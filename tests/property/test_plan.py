"""More to do never takes less: whatever the model, the data and the machine are."""

from hypothesis import given
from hypothesis import strategies as st

from ollamake import params
from ollamake.plan.disk import of_conversion, of_training
from ollamake.plan.forecast import memory_parts, time_parts
from ollamake.plan.machine import Machine
from ollamake.plan.shape import Shape
from ollamake.plan.tokens import Split, Tokens
from ollamake.plan.work import conversion, training
from tests.conftest import REPOSITORY

CONTENT = dict(params.read(REPOSITORY / "params.yaml"))
STAGES = st.sampled_from(["train", "baseline", "evaluate", "convert"])
MACHINES = st.builds(
    Machine, gpu=st.sampled_from(["", "H200"]), memory_bytes=st.just(0), free_bytes=st.just(0), bf16=st.booleans()
)
CHANGES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["lora", "qlora", "full"]),
        "task": st.sampled_from(["sft", "dpo"]),
        "per_device_batch_size": st.integers(1, 64),
        "gradient_checkpointing": st.booleans(),
        "packing": st.booleans(),
        "num_epochs": st.integers(1, 5),
        "max_steps": st.sampled_from([0, 50]),
        "lora_rank": st.integers(1, 256),
        "optimizer": st.sampled_from(["adamw", "sgd", "adafactor", "adamw_8bit"]),
        "precision": st.sampled_from(["auto", "bf16", "fp32"]),
        "gguf_quantization": st.sampled_from(["F16", "Q8_0", "Q4_K_M Q8_0"]),
        "eval_max_examples": st.sampled_from([0, 100]),
    }
)


@st.composite
def shapes(draw):
    hidden, layers, vocabulary = draw(st.integers(64, 8192)), draw(st.integers(1, 96)), draw(st.integers(512, 200_000))
    layer = 12 * hidden * hidden
    return Shape(
        name="any",
        parameters=vocabulary * hidden + layers * layer,
        body=layers * layer,
        stored_bytes=2 * (vocabulary * hidden + layers * layer),
        hidden=hidden,
        intermediate=3 * hidden,
        layers=layers,
        vocabulary=vocabulary,
        key_value=hidden // 2,
        adapters={"q_proj": 2 * hidden * layers, "up_proj": 4 * hidden * layers},
    )


def tokens_of(rows, mean, supervised):
    counted = rows * mean
    split = Split(rows, counted, round(supervised * counted), mean / 4, 2 * mean)
    return Tokens(split, split, split, rows, "made up", counted=True)


TOKENS = st.builds(tokens_of, st.integers(1, 100_000), st.integers(4, 2000), st.floats(0.1, 1))


def costs(stage, content, shape, tokens, machine):
    spent = time_parts(stage, content, shape, tokens, machine), memory_parts(stage, content, shape, tokens, machine)
    return [sum(parts.values()) for parts in spent]


def never_less(small, large):
    return all(after >= before * (1 - 1e-9) for before, after in zip(small, large, strict=True))


@given(STAGES, CHANGES, shapes(), TOKENS, MACHINES)
def test_no_part_of_a_cost_is_below_nothing(stage, changes, shape, tokens, machine):
    content = CONTENT | changes
    parts = time_parts(stage, content, shape, tokens, machine) | memory_parts(stage, content, shape, tokens, machine)
    assert min(parts.values()) >= 0


@given(STAGES, CHANGES, shapes(), st.integers(1, 10_000), st.integers(4, 1000), st.integers(1, 5), MACHINES)
def test_longer_rows_never_take_less_time_or_memory(stage, changes, shape, rows, mean, times, machine):
    content = CONTENT | changes | {"packing": False, "max_length": 100_000}
    short, long = (tokens_of(rows, length, 1) for length in (mean, mean * times))
    assert never_less(costs(stage, content, shape, short, machine), costs(stage, content, shape, long, machine))


@given(CHANGES, shapes(), st.integers(1, 10_000), st.integers(4, 1000), st.integers(1, 5), MACHINES)
def test_more_rows_never_take_less_time_or_memory(changes, shape, rows, mean, times, machine):
    content = CONTENT | changes | {"max_steps": 0}
    few, many = (tokens_of(count, mean, 1) for count in (rows, rows * times))
    assert never_less(costs("train", content, shape, few, machine), costs("train", content, shape, many, machine))


@given(STAGES, CHANGES, shapes(), TOKENS, MACHINES, st.integers(1, 4))
def test_a_higher_rank_never_takes_less(stage, changes, shape, tokens, machine, times):
    content = CONTENT | changes
    higher = content | {"lora_rank": content["lora_rank"] * times}
    assert never_less(*(costs(stage, one, shape, tokens, machine) for one in (content, higher)))
    rooms = [of_training(training(one, shape, tokens, bf16=True)) for one in (content, higher)]
    assert never_less(*rooms)


@given(CHANGES, shapes(), TOKENS, MACHINES, st.integers(1, 4))
def test_larger_batches_never_take_less_memory(changes, shape, tokens, machine, times):
    content = CONTENT | changes | {"max_steps": 50}
    larger = content | {"per_device_batch_size": content["per_device_batch_size"] * times}
    # The same number of steps, so that as many shapes are met.
    before, after = (training(one, shape, tokens, bf16=machine.bf16) for one in (content, larger))
    if before.steps == after.steps:
        small, large = (memory_parts("train", one, shape, tokens, machine) for one in (content, larger))
        assert sum(large.values()) >= sum(small.values())


@given(CHANGES, shapes(), TOKENS, MACHINES)
def test_gradient_checkpointing_never_takes_more_memory_nor_less_time(changes, shape, tokens, machine):
    off, on = (CONTENT | changes | {"gradient_checkpointing": value} for value in (False, True))
    (seconds, size), (longer, smaller) = (costs("train", one, shape, tokens, machine) for one in (off, on))
    assert smaller <= size * (1 + 1e-9)
    assert longer >= seconds


@given(CHANGES, shapes())
def test_another_quantization_beside_never_takes_less_room(changes, shape):
    content = CONTENT | changes
    more = content | {"gguf_quantization": f"{content['gguf_quantization']} Q6_K"}
    assert never_less(*(of_conversion(conversion(one, shape), one) for one in (content, more)))
