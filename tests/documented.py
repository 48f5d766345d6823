"""The commands that README.md and docs/ tell people to type, and the parsers that know whether they exist."""

import re
import shlex
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
# Written by `python -m ollamake docs` from the parser itself.
GENERATED = ROOT / "docs/reference"
OURS, DVC, MAKE, CRON = "python -m ollamake", "dvc", "make", "0 4 * * *"
BENCHMARK = "python -m benchmarks."  # and a module of it
PARSED = (OURS, DVC, MAKE, BENCHMARK)
PROGRAMS = (*PARSED, CRON, "git", "ollama", "source")  # any other one in a block is noticed by a test
ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=\S* )+")
BLOCK = re.compile(r"(?<=\n\n)((?: {4,}.*\n|\n(?= {4}))+)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
NO_COMMANDS = ("mermaid", "python", "json", "yaml", "text")
INLINE = re.compile(r"`([^`\n]+)`")
PLACE = re.compile(r"[\[<…]|\bNAME\b")  # stands for something else
LACKS = ("the following arguments are required", "Missing argument", "Missing parameter")


@dataclass(frozen=True)
class Command:
    """A command and the page that it stands on."""

    text: str
    page: str


def pages() -> list[Path]:
    """The pages that people read, but for the generated ones."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if GENERATED not in page.parents]


def commands() -> list[Command]:
    """Every command in a block, in the order of the pages; `a && b` are two."""
    found = []
    for page in pages():
        for lines in blocks(page):
            known = [line for line in lines if program(line)]
            assert not known or known == lines, f"{page}: commands and something else in one block: {lines}"
            found += [Command(part, str(page.relative_to(ROOT))) for line in known for part in _parts(line)]
    return found


def other_blocks() -> list[tuple[str, str]]:
    """The page and the first line of every block that holds no command."""
    found = [(page, lines) for page in pages() for lines in blocks(page) if not program(lines[0])]
    return [(str(page.relative_to(ROOT)), lines[0]) for page, lines in found]


def inline() -> list[Command]:
    """Every command in the running text of a program that can be asked, unless it names something in general."""
    found = []
    for page in pages():
        for text in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            parts = [part for part in _parts(text) if program(part) in PARSED and part not in PROGRAMS]
            found += [Command(part, str(page.relative_to(ROOT))) for part in parts if not PLACE.search(part)]
    return found


def blocks(page: Path) -> Iterator[list[str]]:
    """The lines of every fenced or indented block that may hold commands."""
    text = page.read_text(encoding="utf-8")
    fenced = [block for language, block in FENCE.findall(text) if language not in NO_COMMANDS]
    for block in [*fenced, *BLOCK.findall(FENCE.sub("", text))]:
        if lines := [line.strip().removeprefix("$ ") for line in block.splitlines() if line.strip()]:
            yield lines


def _parts(line: str) -> list[str]:
    if program(line) == CRON:
        return [line]
    bare = re.sub(r"\s+#\s.*", "", line).strip()
    return [part.strip() for part in bare.split(" && ")]


def program(line: str) -> str:
    """The program of a line, empty for a line that is no command."""
    bare = ASSIGNMENTS.sub("", line)
    return next((name for name in PROGRAMS if f"{bare} ".startswith(name if name == BENCHMARK else f"{name} ")), "")


def why_unknown(command: str) -> str:
    """What the program's own parser has against the command; empty if it takes it."""
    words = shlex.split(ASSIGNMENTS.sub("", command))
    ask = {OURS: _why_not_ours, DVC: _why_not_dvc, MAKE: _why_not_make, BENCHMARK: _why_no_benchmark}
    return ask[program(command)](words)


class ParsedError(Exception):
    """A benchmark has taken its arguments, and would begin to measure."""


def _why_no_benchmark(words: list[str]) -> str:
    parse = ArgumentParser.parse_args

    def only_parse(parser: ArgumentParser, *given: Any) -> NoReturn:
        parse(parser, *given)
        raise ParsedError

    def refuse(_: ArgumentParser, message: str) -> NoReturn:
        raise ValueError(message)

    ended_by = signal.getsignal(signal.SIGTERM)
    changed = patch.multiple(ArgumentParser, parse_args=only_parse, error=refuse)
    with changed, patch.object(sys, "argv", words[2:]):
        try:
            import_module(words[2]).main()
        except ParsedError:
            return ""
        except (ImportError, ValueError) as error:
            return str(error)
        finally:
            signal.signal(signal.SIGTERM, ended_by)  # some benchmarks take it for themselves
    return "it never looked at its arguments"


def _why_not_make(words: list[str]) -> str:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def _why_not_ours(words: list[str]) -> str:
    from typer.main import get_command

    from ollamake.cli import app

    command, context, name, rest = get_command(app), None, OURS, words[3:]
    try:
        while True:
            context = command.make_context(name, list(rest), parent=context)
            if not hasattr(command, "resolve_command"):
                return ""
            name, command, rest = command.resolve_command(context, context._protected_args + context.args)
    except Exception as error:  # noqa: BLE001 - whatever the parser raises
        return getattr(error, "message", "") or repr(error)


def _why_not_dvc(words: list[str]) -> str:
    from dvc.cli import parse_args
    from dvc.cli.parser import DvcParser, DvcParserError

    said: list[str] = []

    class Parser(DvcParser):
        def error(self, message: str, cmd_cls: object = None) -> None:
            said.append(message)
            raise DvcParserError

    patched, DvcParser.error = DvcParser.error, Parser.error
    try:
        given = parse_args(words[1:])
    except DvcParserError:
        return said[0]
    finally:
        DvcParser.error = patched
    return _why_no_params(getattr(given, "set_param", None) or [])


def _why_no_params(overrides: list[str]) -> str:
    """What params.yaml has against the overrides of `dvc exp run`; of several values with commas, against the first."""
    from ollamake import params

    values = dict(override.split("=", 1) for override in overrides)
    read = {key: YAML(typ="safe", pure=True).load(value.split(",")[0]) for key, value in values.items()}
    return "; ".join(params.findings({**params.read(ROOT / "params.yaml"), **read}, params.schemas()))
