"""Run the command line: `python -m ollamake`."""

import os

from ollamake.cli import app
from ollamake.completion import VARIABLE

if VARIABLE in os.environ:  # the shell asks what may follow
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
app(prog_name="python -m ollamake", complete_var=VARIABLE)
