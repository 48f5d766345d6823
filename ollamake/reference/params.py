"""docs/reference/params.md: what stands in params.yaml, and what a change of it reruns."""

import re
from collections.abc import Callable, Iterator

from ollamake.params import PARAMS
from ollamake.reference.graph import after, first_rerun, read_stages

HEAD = """# Parameters

Every key of [params.yaml](../../params.yaml): its value as it stands there, what it means, and the stage that a
change of it reruns first. The stages that follow rerun, too, unless what they read comes out as it was. A test holds
both tables to what `dvc status` says for every key.

| after | follow |
| --- | --- |
"""
SECTION = re.compile(r"# --- (.+?) \((.+)\) ---")
LINE = re.compile(r"(\w+): (.*?) # (.*)")


def page() -> str:
    """Return the page in Markdown."""
    stages = read_stages()
    follow = [f"| `{name}` | {_names(after(stages, name)) or 'nothing'} |" for name in stages]
    lines = PARAMS.read_text(encoding="utf-8").splitlines()
    return HEAD + "\n".join([*follow, *_sections(lines, lambda key: _names(first_rerun(stages, key)))]) + "\n"


def _sections(lines: list[str], reruns: Callable[[str], str]) -> Iterator[str]:
    for line in lines:
        if section := SECTION.fullmatch(line):
            title = section[1]
            yield f"\n## {title[0].upper()}{title[1:]}\n"
            yield from ("| parameter | value | meaning | reruns |", "| --- | --- | --- | --- |")
        elif parameter := LINE.fullmatch(line):
            key, value, meaning = parameter.groups()
            yield f"| `{key}` | `{value}` | {_cell(meaning)} | {reruns(key)} |"


def _names(stages: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in stages)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
