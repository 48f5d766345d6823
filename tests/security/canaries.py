"""Secrets and names that nothing may repeat: planted in the environment of a build, looked for in all that it leaves.

Every one of them holds the same mark, so that one search finds them all, whoever wrote them down.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.meanwhile import looking

# In two parts: a copy of this file lies in the folder that is searched.
MARK = "CANARY" + "5e0c41d7"
SECRETS = {
    "HF_TOKEN": f"hf_{MARK}",
    "WANDB_API_KEY": f"{MARK}wandb",
    "AWS_ACCESS_KEY_ID": f"AKIA{MARK}",
    "AWS_SECRET_ACCESS_KEY": f"{MARK}+aws/secret",
    "AWS_SESSION_TOKEN": f"{MARK}session",
    "OLLAMA_API_KEY": f"{MARK}ollama",
    "OPENAI_API_KEY": f"sk-{MARK}",
    "PIP_INDEX_URL": f"http://user:{MARK}@127.0.0.1:1/simple",
}
PERSON = f"user-{MARK}"
BLOCK = 1 << 22


def planted(folder: Path) -> dict[str, str]:
    """Return the environment of a person with secrets, whose home is made in `folder`."""
    home = folder / f"home-{MARK}"
    home.mkdir()
    return {**SECRETS, "HOME": str(home), "USER": PERSON, "LOGNAME": PERSON, "HOSTNAME": f"host-{MARK}"}


def write_dotenv(folder: Path) -> Path:
    """Write the secrets to `.env`, where many programs look for them, and keep git from it."""
    file = folder / ".env"
    (folder / ".git/info/exclude").write_text(".env\n")
    file.write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    return file


def found_in(folder: Path, *words: str, but: tuple[Path, ...] = ()) -> tuple[list[str], int]:
    """Return the files under `folder`, links included, that hold one of `words`, and how many were searched."""
    needles = [word.encode() for word in words]
    files = [file for file in folder.rglob("*") if file.is_file() and file not in but]
    hits = [f"{file.relative_to(folder)}: {word}" for file in files for word in needles_in(file, needles)]
    return hits, len(files)


def needles_in(file: Path, needles: list[bytes]) -> list[str]:
    """Return those of `needles` that stand in the name of a file or in its bytes."""
    found, kept, overlap = {n for n in needles if n in os.fsencode(file.name)}, b"", max(map(len, needles))
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            found |= {needle for needle in needles if needle in kept + block}
            kept = block[-overlap:]
    return sorted(needle.decode() for needle in found)


def history_of(folder: Path) -> bytes:
    """Return all that git holds, unpacked: in its own files it is compressed."""
    command = ["git", "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


@contextmanager
def command_lines(seconds: float = 0.2) -> Iterator[set[str]]:
    """Take down the command line of every process of this machine meanwhile, again and again."""
    seen: set[str] = set()

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # it has ended
                continue

    with looking(look, seconds):
        yield seen
