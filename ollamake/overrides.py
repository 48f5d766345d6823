"""Parameters as `dvc exp run -S` takes them, in the grammar of Hydra."""

import re
from collections.abc import Mapping
from typing import Any

# Text that the grammar takes without quotes, and what it would take for something else.
PLAIN, NOT_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*"), ("true", "false", "null", "nan", "inf")
# In quoted text a backslash means itself, but before a quote.
BEFORE_QUOTE = re.compile(r"(\\*)('|$)")


def words(overrides: Mapping[str, Any]) -> list[str]:
    """Return the overrides as `-S` takes them: `learning_rate=0.0002`, texts in quotes where they need them."""
    return [f"{name}={_word(value)}" for name, value in overrides.items()]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT:
        return value
    escaped = BEFORE_QUOTE.sub(lambda found: found[1] * 2 + (r"\'" if found[2] else ""), value)
    return f"'{escaped}'"
