"""The conversations whose rendering is kept in tests/golden/rendered, and how a snapshot is read or renewed.

`OLLAMAKE_RENEW_SNAPSHOTS=1 pytest tests/golden` writes them anew; look at every line of `git diff` before it is kept.
"""

import os
from pathlib import Path

RENDERED = Path(__file__).parent / "rendered"

SYSTEM = {"role": "system", "content": "Answer with one shell command."}
LIST, LISTED = {"role": "user", "content": "How do I list files?"}, {"role": "assistant", "content": "ls -l"}
HIDDEN = {"role": "user", "content": "And the hidden ones,\n  with their sizes?"}
BOTH = {"role": "assistant", "content": "ls -la\ndu -sh .[!.]*"}
# Combining and joined characters, right-to-left, digits of other scripts, and what looks like template code.
AWKWARD = {
    "role": "user",
    "content": "Grüße, 世界! مرحبا e\u0301 👩\u200d👩\u200d👧 १२ ½ {{ messages }} {% if %} <b>&amp;</b>",
}
FOREIGN = {"role": "assistant", "content": "Привет, 世界 — ½ ② 👍🏽\n\n```sh\nls | wc -l  # ñ\n```"}

CASES = {
    "one-turn": [LIST, LISTED],
    "system": [SYSTEM, LIST, LISTED],
    "system-prompt": [SYSTEM, LIST],
    "default-system": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A helper."}],
    "multi-turn": [LIST, LISTED, HIDDEN, BOTH],
    "generation-prompt": [LIST, LISTED, HIDDEN],
    "unicode": [AWKWARD, FOREIGN],
}


def is_prompt(case: str) -> bool:
    """Tell whether the template adds the generation prompt, as a server does."""
    return CASES[case][-1]["role"] == "user"


def snapshot(path: Path, text: str) -> str:
    """Return what is kept in `path`, after writing `text` there if snapshots are to be renewed."""
    if os.environ.get("OLLAMAKE_RENEW_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return path.read_bytes().decode()
