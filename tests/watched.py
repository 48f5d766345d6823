"""Trainings on a tiny model, for the tests of what looks on."""

from pathlib import Path

from ollamake.base import Base
from ollamake.labels import IGNORE_INDEX
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

LENGTHS = (9, 14, 11, 17, 10, 12, 15, 8)


def write_rows(answers=None):
    """Write eight rows to train on, and five of them to validate with; their ids are made up, or `answers`."""
    rows = [
        {
            "id": f"{number:016x}",
            "input_ids": ids,
            "labels": [IGNORE_INDEX] * (length // 2) + ids[length // 2 :],
            "prompt_length": length // 2,
            "prompt": f"question {number}",
            "reference": f"answer {number}",
        }
        for number, length in enumerate(LENGTHS)
        for ids in [answers[number] if answers else [100 + (number * 31 + place * 7) % 900 for place in range(length)]]
    ]
    write_tokens(train.TRAIN, rows)
    write_tokens(train.VAL, rows[:5])
    write_packs(train.PACKS, [])


def run(base: Path, **changes):
    """Train two rows a step and return the summary. Checkpoints go to ./held and stay there."""
    from ollamake.training.log import TrainingLog
    from ollamake.training.trainer import Tokens, fine_tune

    held = Path("held")
    held.mkdir(exist_ok=True)
    with TrainingLog(str(train.METRICS), str(train.PLOTS)) as log:
        tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
        chosen = settings(**{"max_steps": 0, "num_epochs": 2, "per_device_batch_size": 2, **changes})
        result = fine_tune(Base(base, {"name": "tiny"}), tokens, chosen, train.TUNED, log, held, train.CHECKPOINTS)
        log.summary.update(result)
    return result


def points(name):
    """Return the points of a curve as text: step and value."""
    lines = (train.PLOTS / f"metrics/{name}.tsv").read_text().splitlines()
    assert lines[0] == f"step\t{name}"
    return [tuple(line.split("\t")) for line in lines[1:]]


def written():
    """Return the bytes of all that must be the same however often a training was interrupted."""
    folders = train.TUNED, train.CHECKPOINTS, train.PLOTS
    timed = {"memory.tsv", "tokens_per_second.tsv"}
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and file.name not in timed]
    assert len(files) > 8
    return {str(file): file.read_bytes() for file in files}
