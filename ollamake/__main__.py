"""Run the command line: `python -m ollamake`."""

from ollamake.cli import app

app(prog_name="python -m ollamake")
