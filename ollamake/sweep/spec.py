"""sweep.yaml: what is searched, how, and for how long."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ollamake.params import holds_half_a_pair
from ollamake.sweep.errors import SweepError

FILE = Path("sweep.yaml")
HINT = "sweep.yaml of the repository is an example of all of it; docs/sweeps.md explains each line"
# What may differ when a sweep goes on: how much is done, not what is looked for.
LIMITS = frozenset({"trials", "parallel", "time_budget_minutes"})

Value = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)


class Dimension(_Strict):
    """The values that one parameter may take: a list of them, or a range.

    `step` makes a range discrete, `log` spreads it evenly over its powers, `whole` (in the file: `int`) takes whole
    numbers. Under `when`, the parameter is searched only where others, named before it, have one of these values.
    """

    choices: list[Value] | None = Field(default=None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = Field(default=None, gt=0)
    log: bool = False
    whole: bool = Field(default=False, alias="int")
    when: dict[str, Value | list[Value]] = {}

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        ranged = self.low is not None and self.high is not None
        if ranged == (self.choices is not None) or (self.low is None) != (self.high is None):
            raise ValueError("takes either `choices`, or `low` and `high`")
        if self.choices is not None:
            self._check_choices(self.choices)
        else:
            self._check_range()
        return self

    def _check_choices(self, choices: list[Value]) -> None:
        if self.log or self.whole or self.step is not None:
            raise ValueError("`log`, `step` and `int` belong to a range, not to choices")
        if len({(type(choice), choice) for choice in choices}) < len(choices):
            raise ValueError("the same choice stands there twice")

    def _check_range(self) -> None:
        assert self.low is not None  # noqa: S101 - what `_is_one_of_two` found
        assert self.high is not None  # noqa: S101
        if self.low >= self.high:
            raise ValueError(f"low is {self.low}, and high must be above it, but is {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs a `low` above 0, and goes without `step`")
        if self.whole and any(float(end) != int(end) for end in (self.low, self.high, self.step or 1)):
            raise ValueError("`int` needs whole numbers for `low`, `high` and `step`")

    @property
    def is_continuous(self) -> bool:
        """Whether it has too many values to go through: a range of numbers, or of powers, without a step."""
        return self.choices is None and (self.log or (self.step is None and not self.whole))


class Spec(_Strict):
    """A whole sweep.yaml; `objective` maps dotted keys of metrics/evaluate.json to a direction."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    objective: dict[str, Literal["minimize", "maximize"]] = Field(min_length=1)
    sampler: Literal["grid", "random", "tpe", "gp", "cmaes"] = "tpe"
    pruner: Literal["median", "asha", "hyperband", "none"] = "none"
    trials: PositiveInt
    parallel: PositiveInt = 1
    time_budget_minutes: PositiveFloat | None = None
    seed: int = Field(default=1, ge=0)
    fixed: dict[str, Value] = {}
    space: dict[str, Dimension] = Field(min_length=1)

    def dump(self) -> str:
        """Return it as JSON, as the study keeps it."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    def differs(self, other: "Spec") -> list[str]:
        """Return the names of the lines in which another sweep is searched for, limits left out."""
        return [
            name for name in Spec.model_fields if name not in LIMITS and getattr(self, name) != getattr(other, name)
        ]


def read_spec(path: Path = FILE) -> Spec:
    """Return the sweep that the file describes. Raises SweepError with everything that is wrong with its form."""
    try:
        text = path.read_text(encoding="utf-8")
        content = YAML(typ="safe", pure=True).load(text)
        halves = list(filter(holds_half_a_pair, YAML(typ="safe", pure=True).parse(text)))
    except FileNotFoundError as error:
        raise SweepError("is not there", where=str(path), hint="`git checkout sweep.yaml`, or name a file") from error
    except (OSError, ValueError, TypeError, RecursionError, YAMLError) as error:
        raise SweepError(f"cannot be read: {error}", where=str(path), hint=HINT) from error
    if halves:  # no message could be written with it, and no experiment
        where = f"{path}, line {halves[0].start_mark.line + 1}"
        raise SweepError("has half of a surrogate pair in it", where=where, hint=HINT)
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise refusal([_sentence(detail) for detail in error.errors()], path) from error


def refusal(found: list[str], path: Path) -> SweepError:
    """Return the error that names everything found in the file."""
    count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
    return SweepError("\n  ".join([count, *found]), where=str(path), hint=HINT)


def _sentence(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"] if part not in ("bool", "int", "float", "str"))
    if detail["type"] == "missing":
        return f"{place}: is missing"
    if detail["type"] == "extra_forbidden":
        return f"{place}: is no line of a sweep"
    if detail["type"] == "value_error":
        return f"{place}: {detail['ctx']['error']}"
    message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    return f"{place}: {message}, but it is {str(detail['input'])[:80]!r}" if place else message
