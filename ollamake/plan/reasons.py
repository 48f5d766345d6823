"""Why DVC would run a stage, in words."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCK, PARAMS = "dvc.lock", "params.yaml"
NEVER = "it has not run yet"
SHOWN_FILES, SHOWN_CHARACTERS = 3, 40
STATES = {
    "modified": "changed",
    "deleted": "is missing",
    "new": "is new to it",
    "not in cache": "is not in DVC's cache",
}


def of_stage(stage: Any, changed: Mapping[str, str]) -> list[str]:
    """Return a phrase for each thing that makes DVC run `stage`, none when nothing does.

    `changed` holds what DVC says of each dependency and output that is not as dvc.lock has it, by path.
    """
    if not any(item.hash_info for item in [*stage.deps, *stage.outs]):
        return [NEVER]
    command = ["its command changed"] if stage.cmd and stage.cmd_changed else []
    parameters = [phrase for item in stage.deps if hasattr(item, "params") for phrase in _parameters(item)]
    inputs = [_input(item, changed[str(item)]) for item in stage.deps if str(item) in changed]
    outputs = [f"its output {out} {STATES[changed[str(out)]]}" for out in stage.outs if str(out) in changed]
    return [*command, *parameters, *inputs, *outputs]


def _parameters(dependency: Any) -> Iterator[str]:
    """Yield `key old -> new` for each parameter of one file that is not as dvc.lock has it."""
    before, now, file = dependency.hash_info.value or {}, dependency.read_params(), str(dependency)
    where = "" if file == PARAMS else f" in {file}"
    for key in dependency.params:
        if key not in now:
            yield f"{key}{where} is missing"
        elif key not in before:
            yield f"{key}{where} is new to it ({shown(now[key])})"
        elif before[key] != now[key]:
            yield f"{key}{where} {shown(before[key])} -> {shown(now[key])}"


def shown(value: Any) -> str:
    """Return a value as params.yaml spells it, cut where it is long."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _input(dependency: Any, state: str) -> str:
    path = str(dependency)
    if state == "modified" and dependency.isdir() and (files := _changed_in(path)):
        names = [str(Path(name).relative_to(path)) for name in files[:SHOWN_FILES]]
        more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
        return f"{path}: {', '.join(names)}{more} changed" if len(files) > 1 else f"{files[0]} changed"
    return f"{path} {STATES[state]}"


def _changed_in(folder: str) -> list[str]:
    """Return the files of a folder that differ from the commit that recorded the last build, none when git has none.

    dvc.lock holds one hash for the folder, so that DVC cannot tell them apart; who commits dvc.lock commits the code
    that it is of.
    """
    recorded = _git("log", "-1", "--format=%H", "--", LOCK)
    tracked = _git("diff", "--name-only", recorded[0], "--", folder) if recorded else []
    added = _git("ls-files", "--others", "--exclude-standard", "--", folder)
    return [name for name in sorted({*tracked, *added}) if "__pycache__" not in Path(name).parts]


def _git(*arguments: str) -> list[str]:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return result.stdout.split("\n")[:-1]
