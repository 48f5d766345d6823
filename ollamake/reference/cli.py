"""docs/reference/cli.md: every command with its options, as `--help` has them."""

import re
from typing import Any

PROGRAM = "python -m ollamake"
HELP_OPTION = re.compile(r"^\* `--help`.*\n", re.MULTILINE)
COMMANDS = re.compile(r"^\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", re.MULTILINE)
NO_OPTIONS = re.compile(r"^\*\*Options\*\*:\n\n(?!\*)", re.MULTILINE)


def page() -> str:
    """Return the page in Markdown."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from ollamake.cli import app

    command = get_command(app)
    context: Any
    with command.make_context(PROGRAM, [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name=PROGRAM, title="Command line")
    return NO_OPTIONS.sub("", COMMANDS.sub("", HELP_OPTION.sub("", text))).rstrip() + "\n"
