"""All checks, in the order in which they are shown. Each is made whatever becomes of the others, at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ollamake.doctor import build, hardware, links, objects, records, repository, room, runs, server, software, system
from ollamake.doctor.finding import Finding, SkippedError, Verdict, failure
from ollamake.doctor.subject import Subject
from ollamake.errors import OllamakeError

WAITING = 8  # most checks wait for a disk, a network or another process


class Check(NamedTuple):
    """A check by its name on the screen."""

    group: str
    name: str
    look: Callable[[Subject], Verdict]


CHECKS = (
    Check("software", "Python", software.python),
    Check("software", "packages", software.packages),
    Check("software", "converter", software.converter),
    Check("machine", "GPU", hardware.gpu),
    Check("machine", "bfloat16", hardware.bf16),
    Check("machine", "memory", room.memory),
    Check("machine", "disk", room.disk),
    Check("machine", "clock", system.clock),
    Check("machine", "text", system.encoding),
    Check("machine", "rights", system.rights),
    Check("repository", "git", repository.state),
    Check("repository", "queued runs", repository.queued),
    Check("repository", "outputs", repository.outputs),
    Check("repository", "dvc.lock", records.lock),
    Check("repository", "DVC's links", links.links),
    Check("repository", "DVC's cache", objects.objects),
    Check("repository", "locks", runs.locks),
    Check("repository", "leftovers", runs.leftovers),
    Check("build", "params.yaml", build.parameters),
    Check("build", "data", build.data),
    Check("build", "training", build.training),
    Check("build", "base model", build.base_model),
    Check("build", "conversion", build.conversion),
    Check("server", "Ollama", server.ollama),
    Check("server", "teacher, judge", server.asked_models),
    Check("server", "ports", server.ports),
)


def examine(subject: Subject, checks: tuple[Check, ...] = CHECKS) -> list[Finding]:
    """Return a finding for each check, in their order."""
    with ThreadPoolExecutor(WAITING) as pool:
        verdicts = pool.map(lambda check: _made(check, subject), checks)
        return [Finding(check.group, check.name, *verdict) for check, verdict in zip(checks, verdicts, strict=True)]


def _made(check: Check, subject: Subject) -> Verdict:
    """Make a check; one that breaks is a finding, too."""
    try:
        return check.look(subject)
    except SkippedError as reason:
        return Verdict("skipped", str(reason))
    except OllamakeError as error:
        return failure(f"{error.where}: {error.problem}" if error.where else error.problem, error.hint)
    except OSError as error:
        return failure(
            f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "look at the disk and the rights"
        )
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the others with it
        said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return failure(f"this check broke ({said})", "tell the authors of ollamake; the other findings hold")
