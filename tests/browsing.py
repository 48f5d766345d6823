"""A real browser without a screen, and what a page asked the network for."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


def find_chromium() -> str | None:
    """Return a browser that runs: Ubuntu has a script of that name that only tells what to install."""
    for name in filter(None, map(shutil.which, ("chromium", "chromium-browser"))):
        try:
            if subprocess.run([name, "--version"], capture_output=True, timeout=60).returncode == 0:
                return name
        except (OSError, subprocess.TimeoutExpired):
            continue
    return None


CHROMIUM = find_chromium()
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: apt-get install chromium")
# A page that fails to load something has asked for it all the same, and the browser lists that here.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
document.body.dataset.asked = JSON.stringify(performance.getEntriesByType("resource").map(each => each.name))
document.body.dataset.loaded = [...document.images].filter(each => each.naturalWidth).length
}, 100))</script>"""
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--virtual-time-budget=9000", "--dump-dom"),
)


@dataclass(frozen=True)
class Seen:
    """The page after its scripts ran: its HTML, the addresses that it asked for, how many pictures were decoded."""

    html: str
    asked: list[str]
    pictures: int

    def count(self, pattern: str) -> int:
        """How often a pattern stands in the HTML."""
        return len(re.findall(pattern, self.html))


def browse(page: Path, folder: Path) -> Seen:
    """Open a copy of the page in `folder`, a scratch folder, and wait until it is still."""
    assert CHROMIUM
    # What forbids a page of ours to run scripts would forbid the probe, too; it allows no picture or style more.
    policy = "default-src 'none';"
    text = page.read_text(encoding="utf-8").replace(policy, f"{policy} script-src 'unsafe-inline';")
    before, end, after = text.rpartition("</body>")  # a script may hold another one
    copy = folder / "browsed.html"
    copy.write_text(f"{before}{PROBE}{end}{after}", encoding="utf-8")
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={folder / 'profile'}", copy.as_uri()]
    html = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    asked, loaded = (re.search(f'data-{name}="([^"]*)"', html) for name in ("asked", "loaded"))
    assert asked, "the page never came to rest"
    assert loaded
    addresses: list[str] = json.loads(asked[1].replace("&quot;", '"'))
    return Seen(html, [each for each in addresses if not each.startswith("data:")], int(loaded[1]))
