"""Look every locked package up among the known vulnerabilities; what could not be looked up is no pass.

`python -m ollamake.supply.audit PIP_AUDIT LOCK…`. pip-audit by itself calls a package that its service does not know
skipped, and says "No known vulnerabilities found"; with `--strict` it ends at the first one.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ollamake.errors import OllamakeError

LOCKED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
SHOWN = 5


def audit(tool: str, locks: Iterable[Path]) -> str:
    """Return a line that says how many packages were looked up, and when. Raises OllamakeError unless all were fine."""
    locked = {name: version for lock in locks for name, version in LOCKED.findall(lock.read_text(encoding="utf-8"))}
    if not locked:
        raise OllamakeError("the lock files name no package", hint="`make lock` writes them")
    answers = {answer["name"]: answer for answer in _ask(tool, locked)}
    unknown = [name for name in locked if "vulns" not in answers.get(name, {})]
    weak = [_described(answer) for answer in answers.values() if answer.get("vulns")]
    if weak:
        raise OllamakeError(
            f"{len(weak)} of {len(locked)} packages have known vulnerabilities:\n  " + "\n  ".join(weak),
            hint="raise the versions in requirements.in, then `make lock setup test`",
        )
    if unknown:
        named = ", ".join(unknown[:SHOWN]) + (", …" if len(unknown) > SHOWN else "")
        raise OllamakeError(
            f"{len(unknown)} of {len(locked)} packages could not be looked up: {named}",
            hint="run `make audit` where the package index itself can be reached: a mirror knows of none",
        )
    return f"{len(locked)} packages looked up on {datetime.now(UTC):%Y-%m-%d}, no known vulnerability"


def _ask(tool: str, locked: dict[str, str]) -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:  # without hashes, without markers
        wanted.write("".join(f"{name}=={version}\n" for name, version in locked.items()))
        wanted.flush()
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run([tool, *options, "-r", wanted.name], capture_output=True, text=True, check=False)
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        raise OllamakeError(
            f"nothing was looked up: {said}", where="pip-audit", hint="is there a network? then `make audit` again"
        ) from None
    return answers


def _described(answer: dict[str, Any]) -> str:
    found = [f"{one['id']} (mended in {', '.join(one['fix_versions']) or 'none'})" for one in answer["vulns"]]
    return f"{answer['name']} {answer['version']}: {'; '.join(found)}"


def main() -> None:
    """Print the line, or end with 1 and what is wrong."""
    try:
        print(audit(sys.argv[1], map(Path, sys.argv[2:])))
    except OllamakeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
