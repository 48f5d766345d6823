"""What is fuzzed: each target is set up in a folder once, then takes a seed and a number and returns fates."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

Give = Callable[[int, int], Counter[str]]


def prepare(folder: Path) -> Give:
    """Batches of mutated rows, through the whole of prepare."""
    from tests.fuzz.rows import prepare_rows

    return lambda seed, number: prepare_rows(seed, number, folder)


def files(folder: Path) -> Give:
    """Data files of every format."""
    from tests.fuzz.files import Files

    return _each(Files(folder))


def params(folder: Path) -> Give:
    """params.yaml."""
    from tests.fuzz.settings import Parameters

    return _each(Parameters(folder))


def sources(folder: Path) -> Give:
    """sources.yaml and recipes."""
    from tests.fuzz.settings import Sources

    return _each(Sources(folder))


def chats(folder: Path) -> Give:
    """Conversations with control tokens in them, through every family's tokenizer."""
    from tests.fuzz.chats import Chats

    return _each(Chats(folder))


def models(folder: Path) -> Give:
    """The files of a base model."""
    from tests.fuzz.models import Models

    return _each(Models(folder))


TARGETS: dict[str, Callable[[Path], Give]] = {
    target.__name__: target for target in (prepare, files, params, sources, models, chats)
}


def _each(give: Callable[[int, int], str]) -> Give:
    return lambda seed, number: Counter([give(seed, number)])
