"""What a refusal has to say, whatever was refused."""

from ollamake.errors import OllamakeError


def told(error: OllamakeError, where: str = "") -> str:
    """Hold the error to what every error says; return what became of its input in a word."""
    assert error.problem
    assert where in error.where, error
    assert error.hint, error
    str(error).encode(errors="backslashreplace")
    return "refused"
