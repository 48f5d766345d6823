"""What counts as one shell command, and which program it runs."""

import re
import shlex
from collections.abc import Collection, Sequence

from ollamake.collect.sheets import Unusable

LONGEST_CHARACTERS = 120
PROMPT = "$ "
COMMENT = re.compile(r"\s+#(?:\s.*)?$")
# What may stand before the program's name: assignments, sudo, the parenthesis of a subshell.
PREFIX = re.compile(r"^(?:sudo\s+(?:-\w+\s+\w+\s+)?|\w+=\S*\s+)*")


def one_command(lines: Sequence[str], sheet: str, known: Collection[str]) -> str:
    """Return the one shell command that a block of code shows. Raises Unusable when there is none, or more than one.

    In a console session, what the programs print is left out, and so are the commands that only set the scene (`ls`
    before and after a `chmod`).
    """
    commands = _commands(lines)
    if len(commands) > 1 and any(line.startswith(PROMPT) for line in lines):
        commands = [command for command in commands if sheet in words(command)]
    if len(commands) != 1:
        raise Unusable("several commands, or none")
    command = COMMENT.sub("", commands[0])
    try:
        shlex.split(command)
    except ValueError as error:
        raise Unusable("quotes that do not close") from error
    if program(command) not in known:
        raise Unusable("not a shell command")
    if "..." in command:
        raise Unusable("a command with parts left out")
    if len(command) > LONGEST_CHARACTERS:
        raise Unusable("a long command")
    return command


def program(command: str) -> str:
    """Return the name of the first program that the command runs."""
    return programs(command)[0]


def programs(command: str) -> list[str]:
    """Return the names of the programs that the command runs one after the other or in a pipe."""
    starts = [words(PREFIX.sub("", part.strip(), count=1)) for part in re.split(r"&&|\|\||[|;]", command)]
    return [start[0].rpartition("/")[2] for start in starts]


def words(command: str) -> list[str]:
    """Return the command's words, split where a shell would split them; quotes are left alone."""
    return re.split(r"[\s|;&<>()]+", command.strip())


def _commands(lines: Sequence[str]) -> list[str]:
    session = any(line.startswith(PROMPT) for line in lines)
    found: list[str] = []
    continued = False
    for line in lines:
        text = line.removeprefix(PROMPT).strip()
        if continued:
            found[-1] = f"{found[-1].removesuffix(chr(92)).rstrip()} {text}"
        elif line.startswith(PROMPT) or not session:
            found.append(text)
        else:
            continue
        continued = text.endswith("\\")
    return found
