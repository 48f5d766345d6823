"""A score of the user's own: a file of the folder metrics_own in the form of Hugging Face's `evaluate` modules.

Imported as it lies there. `evaluate.load` would copy it to the user's home first, fetch whatever a comment
`# From: <url>` names, and take a base class that the file imports for the metric.
"""

import importlib
import math
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ollamake.errors import ParamsError
from ollamake.scoring.names import MEASURES

FOLDER, NONE = Path("metrics_own"), "none"
GUIDE = f"{FOLDER / 'README.md'} shows such a file; then `dvc repro`"


def _require_own_file(name: str) -> str:
    # DVC watches that folder, and nothing outside: a metric elsewhere could change without any stage noticing.
    if name != NONE and (Path(name).parts[0] != FOLDER.name or ".." in Path(name).parts or Path(name).suffix != ".py"):
        raise ValueError(f"must be none or a .py file in {FOLDER}, such as {FOLDER / 'my_metric.py'}")
    return name


OwnFile = Annotated[str, Field(min_length=1), AfterValidator(_require_own_file)]


@dataclass(frozen=True)
class OwnScores:
    """What the user's metric makes of all answers: `items` has a number an answer, `overall` those of all at once."""

    items: Mapping[str, Sequence[float]]
    overall: Mapping[str, float]


@dataclass(frozen=True)
class OwnMetric:
    """The metric in the file `path`."""

    path: Path
    module: Any

    @property
    def version(self) -> str:
        """What tells one state of the file from another."""
        return f"{self.path}|sha256:{sha256(self.path.read_bytes()).hexdigest()[:16]}"

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> OwnScores:
        """Return the scores of the answers, their names headed by that of the file. Raises ParamsError.

        A list with a number an answer is taken as that. Where the metric gives one number for all, it is asked about
        each answer alone as well; if that is their mean, then the single ones count.
        """
        with TemporaryDirectory(prefix="ollamake-scores-") as scratch:
            with _blaming(self.path):
                # The seed is numpy's within `compute`; without one of ours, it would be another one every time.
                metric = self.module(keep_in_memory=True, cache_dir=scratch, seed=1)
                metric.download_and_prepare()
            items, overall = self._ask(metric, predictions, references)
            alone = self._alone(metric, predictions, references) if overall else {}
        for name, value in list(overall.items()):
            values = alone.get(name, [])
            if len(values) == len(predictions) and math.isclose(math.fsum(values) / len(values), value, abs_tol=1e-6):
                items[name] = values
                del overall[name]
        return OwnScores(items, overall)

    def _ask(
        self, metric: Any, predictions: Sequence[str], references: Sequence[str]
    ) -> tuple[dict[str, list[float]], dict[str, float]]:
        with _blaming(self.path):
            returned = metric.compute(predictions=list(predictions), references=list(references))
        return self._sorted(returned, len(predictions))

    def _alone(self, metric: Any, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for prediction, reference in zip(predictions, references, strict=True):
            try:
                _, overall = self._ask(metric, [prediction], [reference])
            except ParamsError:  # such as a correlation, which one answer does not have
                return {}
            for name, value in overall.items():
                found.setdefault(name, []).append(value)
        return found

    def _sorted(self, returned: Any, answers: int) -> tuple[dict[str, list[float]], dict[str, float]]:
        if not isinstance(returned, Mapping) or not returned:
            raise self._refusal(f"returned {returned!r:.80}, not a dictionary of scores by name")
        items, overall = {}, {}
        for key, given in returned.items():
            value = given.tolist() if hasattr(given, "tolist") else given  # numpy's numbers and arrays
            name = self.path.stem if key == self.path.stem else f"{self.path.stem}_{key}"
            if name in MEASURES:
                raise self._refusal(f"its score {key!r} would be called {name}, which is one of ours: rename the file")
            if _is_number(value):
                overall[name] = float(value)
            elif isinstance(value, Sequence) and len(value) == answers and all(map(_is_number, value)):
                items[name] = [float(number) for number in value]
            else:
                raise self._refusal(
                    f"its score {key!r} is {value!r:.80}, not a number nor a list of {answers}, one an answer"
                )
        return items, overall

    def _refusal(self, problem: str) -> ParamsError:
        return ParamsError(problem, where=str(self.path), hint=GUIDE)


def open_metric(name: str) -> OwnMetric | None:
    """Return the metric of the file `name`, or None for "none". Raises ParamsError where the file has none."""
    if name == NONE:
        return None
    path = Path(name)
    if not path.is_file():
        there = ", ".join(sorted(str(file) for file in FOLDER.rglob("*.py"))) or "no .py file at all"
        raise ParamsError(
            f"eval_metric names {name}, which is not there; {FOLDER} has {there}", where="params.yaml", hint=GUIDE
        )
    with _blaming(path):
        found = _metrics_in(path)
    if len(found) != 1:
        raise ParamsError(
            f"holds {len(found)} classes made from evaluate.Metric, where one is needed", where=str(path), hint=GUIDE
        )
    return OwnMetric(path, found[0])


def _metrics_in(path: Path) -> list[Any]:
    import evaluate

    module = importlib.import_module(".".join(path.with_suffix("").parts))
    return [
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, evaluate.EvaluationModule)
        # Not what the file only imports.
        and member.__module__ == module.__name__
    ]


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn whatever the user's code raises into a ParamsError with the line of the file where it happened."""
    try:
        yield
    except ParamsError:
        raise
    except Exception as error:
        frames = [
            frame.lineno for frame in traceback.extract_tb(sys.exc_info()[2]) if Path(frame.filename) == path.resolve()
        ]
        line = frames[-1] if frames else getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise ParamsError(f"{type(error).__name__}: {error}", where=where, hint=GUIDE) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
