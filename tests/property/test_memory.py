"""However often memory runs out: a step keeps its rows, batches shrink, and an end is reached."""

from hypothesis import given
from hypothesis import strategies as st

from ollamake.errors import TrainingError
from ollamake.training.memory import Shortage, after_shortage, in_effect, largest_part, recorded
from tests.training import settings

CHOSEN = settings()
SIZES = st.integers(1, 4096)


@given(SIZES)
def test_the_largest_part_divides_and_nothing_larger_does(size):
    part = largest_part(size)
    assert part < size
    assert not any(size % larger == 0 for larger in range(part + 1, size))
    assert part == 0 or size % part == 0


@given(SIZES, st.integers(1, 64), st.sampled_from(["sft", "pretrain", "dpo", "kto"]))
def test_batch_times_accumulation_stays_the_same_to_the_end(size, accumulation, task):
    size = max(size, 2) if task == "kto" else size
    sizes = {"per_device_batch_size": size, "gradient_accumulation_steps": accumulation}
    chosen = CHOSEN.model_copy(update={"task": task, **sizes})
    shortages = []
    while True:
        before = in_effect(chosen, shortages)
        try:
            shortages.append(after_shortage(before, len(shortages)))
        except TrainingError:
            break
        now = in_effect(chosen, shortages)
        assert now.per_device_batch_size * now.gradient_accumulation_steps == size * accumulation
        assert 1 <= now.per_device_batch_size <= before.per_device_batch_size / 2
        assert now.model_dump(exclude=SIZED) == chosen.model_dump(exclude=SIZED)
    assert task == "kto" or in_effect(chosen, shortages).per_device_batch_size == 1
    assert in_effect(chosen, shortages).per_device_batch_size >= (2 if task == "kto" else 1)


SIZED = {"per_device_batch_size", "gradient_accumulation_steps"}
SHORTAGES = st.lists(st.builds(Shortage, st.integers(0), SIZES, SIZES))


@given(SHORTAGES)
def test_the_history_gives_back_what_was_put_into_it(shortages):
    steps = [{"step": number, "loss": 1.0} for number in range(3)]
    told = [{"step": one.step, "out_of_memory": one._asdict()} for one in shortages]
    assert recorded([*steps, *told, *steps]) == shortages
