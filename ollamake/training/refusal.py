"""The error for a training that cannot be: which parameter is in the way, and what to set instead."""

from ollamake.errors import ParamsError


def refusal(problem: str, hint: str) -> ParamsError:
    """Return the error for parameters that are valid, but not with this model, machine or installation."""
    return ParamsError(problem, where="params.yaml", hint=hint)
