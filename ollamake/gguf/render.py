"""The chat template inside a GGUF file, rendered by llama.cpp in a process of its own that may use little.

A template comes from a stranger. llama.cpp runs it as soon as it loads the file, with tools and roles that no row of
ours has, and without a limit: one that fetch found harmless in Jinja may loop for ever here.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ollamake.chat import Message
from ollamake.errors import ConversionError, ParityError
from ollamake.gguf.runtime import Runtime

# Of the processor and of memory, beside what it takes to load the file, some of which llama.cpp copies.
CPU_SECONDS, MEMORY_BYTES = 60, 4 << 30
LOADED_BYTES_PER_SECOND = 100 << 20
CONTEXT_TOKENS = 256  # nothing is computed
REPOSITORY = Path(__file__).parents[2]


def rendered(file: Path, conversations: Sequence[Sequence[Message]]) -> list[str]:
    """Return the generation prompt of each conversation, as the template inside the file makes it.

    Raises ParityError where llama.cpp refuses one, or takes more than the limits.
    """
    size = file.stat().st_size
    limits = [CPU_SECONDS + size // LOADED_BYTES_PER_SECOND, MEMORY_BYTES + size]
    given = json.dumps({"file": str(file), "limits": limits, "conversations": conversations})
    done = subprocess.run(
        [sys.executable, "-m", "ollamake.gguf.render"], input=given, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        within = f"within {limits[0]} s of the processor and {limits[1] >> 30} GB"
        raise ParityError(
            f"llama.cpp cannot run the chat template inside it {within}{f': {lines[-1]}' if lines else ''}",
            where=str(file),
            hint="set chat_template to the name of a template in models/templates, then run `dvc repro` again",
        )
    texts: list[str] = json.loads(done.stdout)
    return texts


def main() -> None:
    """Read a file, limits and conversations from stdin, write the texts to stdout, both as JSON."""
    given = json.load(sys.stdin)
    for kind, most in zip((resource.RLIMIT_CPU, resource.RLIMIT_DATA), given["limits"], strict=True):
        resource.setrlimit(kind, (most, most))
    try:
        with Runtime(Path(given["file"]), CONTEXT_TOKENS, templated=True) as runtime:
            texts = [runtime.render(messages) for messages in given["conversations"]]
    except (ConversionError, ParityError) as error:
        sys.exit(error.problem)
    json.dump(texts, sys.stdout)


if __name__ == "__main__":
    main()
