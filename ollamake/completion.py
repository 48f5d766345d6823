"""What the shell offers at TAB: commands and options by typer, and the values that only the workspace knows."""

from collections.abc import Iterator
from pathlib import Path

VARIABLE = "_OLLAMAKE_COMPLETE"
# Not typer's own script: it would take over the completion of `python`, the first word of the command.
SCRIPT = f"""ollamake() {{ python -m ollamake "$@"; }}
_ollamake() {{
    local IFS=$'\n'
    COMPREPLY=($(COMP_WORDS="${{COMP_WORDS[*]}}" COMP_CWORD=$COMP_CWORD {VARIABLE}=complete_bash python -m ollamake))
}}
complete -o default -o nosort -F _ollamake ollamake
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def parameters(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield `key=value` of each parameter that begins so, as params.yaml has it, with its comment."""
    path = Path("params.yaml")
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        setting, _, comment = line.partition(" # ")
        key, separator, value = setting.partition(": ")
        if separator and key.startswith(incomplete.partition("=")[0]):
            yield f"{key}={'' if ' ' in value else value}", comment


def releases(incomplete: str) -> Iterator[str]:
    """Yield the versions of releases that begin so."""
    for path in sorted(Path("releases").glob("*.proof.json")):
        if (version := path.name.removesuffix(".proof.json")).startswith(incomplete):
            yield version
