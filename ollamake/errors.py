"""What can go wrong, said so that a person can act on it.

OllamakeError          exit code 1
├── ParamsError        params.yaml holds something no stage can use
├── DataError          the raw records cannot be read, or too few of them are usable
├── BaseModelError     the base model cannot be resolved, trusted or converted
├── TrainingError      training came to nothing
├── ConversionError    the merged model could not be written as GGUF
├── ParityError        the GGUF does not behave as the trained model does
├── ServerError        the Ollama server refused or broke off
├── DiskError          files cannot be read or written: no room, no right, a limit, a failing disk
└── ShortageError      there is not enough memory
"""

import errno
import re

# What the system says of files that it does not read or write, and what to do about it.
ANSWERS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the quota of the disk is used up", "free some space"),
    errno.EFBIG: ("a file may not become as large as it has to", "`ulimit -f` shows the limit, where there is one"),
    errno.EROFS: ("the file system is read-only", "`python -m ollamake doctor` shows where"),
    errno.EACCES: ("there is no right to it", "`python -m ollamake doctor` shows where"),
    errno.EPERM: ("there is no right to it", "`python -m ollamake doctor` shows where"),
    errno.EIO: ("the disk does not read or write it", "look into the system's log (`dmesg`): the disk may be failing"),
    errno.EMFILE: ("too many files are open at once", "`ulimit -n 1024`"),
}
# What Python, torch's allocator, the linker of libraries and the system say where there is no room in memory.
MEMORY = re.compile(
    "[Cc]an(?:not|'t) allocate memory|failed to map segment|can't start new thread|std::bad_alloc"
    "|[Tt]hread.*: Resource temporarily unavailable"
)
# What SQLite, in which DVC and Optuna keep records, says in place of the system's number.
DATABASE = re.compile("disk I/O error|database or disk is full|attempt to write a readonly database|unable to open")
# numpy and torch keep to themselves why.
PARTLY = re.compile(r"\d+ requested and \d+ written|unexpected pos \d+ vs \d+|iostream error|failed writing file")
# As safetensors and other libraries in Rust wrap it in errors of their own, and Arrow in its own.
WRAPPED = re.compile(r"\((?:os error|errno:?) (\d+)\)|\[[Ee]rrno (\d+)\]")


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
    """Files cannot be read or written: no room, no right, a limit, a failing disk."""


class ShortageError(OllamakeError):
    """There is not enough memory."""


def of_system(error: BaseException) -> OllamakeError | None:
    """Return the error for what the system is behind, whichever library wraps it; None for anything else."""
    if isinstance(error, MemoryError) or MEMORY.search(str(error)):
        hint = "`python -m ollamake plan` estimates how much each stage needs, `ulimit -v` shows a limit"
        return ShortageError("there is not enough memory", hint=f"{hint}; then run `dvc repro` again")
    wrapped = WRAPPED.search(str(error))
    number = getattr(error, "errno", None) or (int(wrapped[1] or wrapped[2]) if wrapped else None)
    if PARTLY.search(str(error)):
        problem, hint = "only a part of a file could be written", "free some space, or see `ulimit -f` for a limit"
        return DiskError(problem, hint=f"{hint}; then run `dvc repro` again")
    if DATABASE.match(str(error)):
        hint = "free some space, or see `ulimit -f` for a limit and `python -m ollamake doctor` for a missing right"
        return DiskError(f"a database cannot be read or written: {error}", hint=f"{hint}; then run `dvc repro` again")
    if number in ANSWERS:
        problem, hint = ANSWERS[number]
        names = [getattr(error, name, None) for name in ("filename2", "filename")]  # of two, the one written to
        where = str(next(filter(None, names), ""))
        return DiskError(problem, where=where, hint=f"{hint}; then run `dvc repro` again")
    return of_system(error.__cause__) if error.__cause__ else None
