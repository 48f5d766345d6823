"""What can go wrong, said so that a person can act on it.

OllamakeError          exit code 1
├── ParamsError        params.yaml holds something no stage can use
├── DataError          the raw records cannot be read, or too few of them are usable
├── BaseModelError     the base model cannot be resolved, trusted or converted
├── TrainingError      training came to nothing
├── ConversionError    the merged model could not be written as GGUF
├── ParityError        the GGUF does not behave as the trained model does
├── ServerError        the Ollama server refused or broke off
└── DiskError          there is no room for what a stage is about to write
"""


class OllamakeError(Exception):
    """A failure with its place and a way on.

    `problem` says what is wrong, `where` in which file and line (empty if nowhere in particular), `hint` what to do
    next, with a command where there is one. Only the edges (`ollamake.stage.run`, the command line) turn it into an
    exit code.
    """

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.where, self.hint = problem, where, hint

    def __str__(self) -> str:
        lines = [f"error: {self.where}: {self.problem}" if self.where else f"error: {self.problem}"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class ParamsError(OllamakeError):
    """params.yaml holds something no stage can use."""


class DataError(OllamakeError):
    """The raw records cannot be read, or too few of them are usable."""


class BaseModelError(OllamakeError):
    """The base model cannot be resolved, trusted or converted."""


class TrainingError(OllamakeError):
    """Training came to nothing."""


class ConversionError(OllamakeError):
    """The merged model could not be written as GGUF."""


class ParityError(OllamakeError):
    """The GGUF does not behave as the trained model does."""


class ServerError(OllamakeError):
    """The Ollama server refused or broke off."""


class DiskError(OllamakeError):
    """There is no room for what a stage is about to write."""
