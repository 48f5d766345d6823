"""What comes before any work: DVC's records mended, params.yaml checked, and the files that it names looked for."""

import sys

from ollamake import claims, locks, params, preflight


def mend() -> None:
    """Put right what a killed DVC has left of its records, and say what was done."""
    for done in [*locks.repair(), *claims.clear()]:
        print(done, file=sys.stderr)


def make_ready() -> None:
    """Mend what can be mended, and raise OllamakeError for what would end a build."""
    mend()
    content = params.read()
    params.check(content)
    preflight.check(content)
