"""What a person writes as YAML, changed: params.yaml and the lists of sources."""

from contextlib import suppress
from pathlib import Path

from dvc.utils.serialize import YAMLFileCorruptedError, load_yaml

from ollamake import params
from ollamake.collect import mixture, recipe
from ollamake.collect.grammar import load
from ollamake.errors import DataError, ParamsError
from tests.faults.mutation import BYTES, FRAGMENTS, TEXTS, Mutator
from tests.fuzz.verdict import told

ROOT = Path(__file__).parents[2]
SOURCES = b"""# two of three kinds
sources:
  - files: chats.jsonl
    name: chats
    weight: 2
    losses: losses.jsonl
  - hub: org/name
    revision: a123456789012345678901234567890123456789
    shape: messages
    max_examples: 5
  - recipe: recipe.yaml
"""
RECIPE = b"""packages:
  - requirement: eg==1.2.3
    sha256: 0000000000000000000000000000000000000000000000000000000000000000
    license: MIT
    format: eg
    skip: [a, b]
commands: [ls]
telling: {ls: [list]}
drop: {ls: [oh]}
"""


def _changed(mutator: Mutator, text: bytes) -> bytes:
    """Return the text with a value, a key or a few bytes changed."""
    lines = text.splitlines(keepends=True)
    kind = mutator.draw.randrange(4)
    at = mutator.draw.randrange(len(lines))
    strange = mutator.draw.choice((*BYTES, *FRAGMENTS, *(text.encode(errors="surrogatepass") for text in TEXTS)))
    if kind == 0:
        return mutator.damaged(text)
    if kind == 1:
        lines[at] = lines[at].partition(b":")[0] + b": " + strange[:20_000] + b"\n"
    elif kind == 2:
        lines[at] = strange[:20_000] + b": " + lines[at].partition(b":")[2].lstrip()
    else:
        lines[at : at + mutator.draw.randrange(2)] = [lines[mutator.draw.randrange(len(lines))]]
    return b"".join(lines)


class Parameters:
    """params.yaml: refused with a ParamsError, or read as DVC reads it."""

    def __init__(self, folder: Path) -> None:
        self._path, self._good = folder / "params.yaml", (ROOT / "params.yaml").read_bytes()

    def __call__(self, seed: int, number: int) -> str:
        """Return what became of it in a word."""
        self._path.write_bytes(_changed(Mutator(seed, number), self._good))
        try:
            content = params.read(self._path)
            with suppress(YAMLFileCorruptedError):  # which dvc says before any stage runs
                assert dict(content) == load_yaml(str(self._path))
            params.check(content, self._path)
        except ParamsError as error:
            return told(error, str(self._path))
        return "read"


class Sources:
    """sources.yaml and recipes: refused with a DataError, or read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sources.yaml"

    def __call__(self, seed: int, number: int) -> str:
        """Return what became of one in a word."""
        text, parse = ((SOURCES, mixture.parse), (RECIPE, recipe.parse))[number % 2]
        self._path.write_bytes(_changed(Mutator(seed, number), text))
        try:
            parse(load(self._path), self._path)
        except DataError as error:
            return told(error, str(self._path))
        return "read"
