"""Whether the served model still is and answers what was released: the verdict of maintenance, and its log."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ollamake.gate.comparison import Comparison, Contest, compare
from ollamake.modes.answering import Answered
from ollamake.modes.subject import Subject
from ollamake.ollama.verify import Finding
from ollamake.scoring.names import figure, heading
from ollamake.scoring.resampling import Difference

LOG = Path("logs/monitor.jsonl")
# Made of probabilities or of the runtime's own count of tokens, neither of which every server tells.
UNSEEN = ("loss", "perplexity", "bits_per_byte", "mean_new_tokens", "length_ratio")
IN_PLACE_OF_THEM = "rouge_l"
SHOWN = 40  # characters of a digest or an address in a sentence


@dataclass(frozen=True)
class Report:
    """One look at a served model. `change` is served minus recorded, positive where served is better."""

    subject: Subject
    findings: list[Finding]
    answered: Answered
    comparison: Comparison
    metric: str
    allowed: float

    @classmethod
    def of(cls, subject: Subject, findings: list[Finding], answered: Answered) -> "Report":
        """Compare the served answers with the recorded ones by the score and the bound of the gate."""
        recorded, served = ({row["id"]: row for row in rows} for rows in (answered.recorded, answered.served))
        asked = subject.params["gate_metric"]
        metric = IN_PLACE_OF_THEM if asked in UNSEEN else asked
        # A bound in nats says nothing of a share.
        allowed = 0.0 if asked in UNSEEN else subject.params["gate_max_regression"]
        return cls(subject, findings, answered, compare(Contest(recorded, served)), metric, allowed)

    @property
    def change(self) -> dict[str, Difference]:
        """How the scores have changed that a server's answers have."""
        return {name: found for name, found in self.comparison.gain.items() if name not in UNSEEN}

    @property
    def reasons(self) -> list[str]:
        """Why this is drift: a check that failed, or a score that fell for sure by more than the gate allows."""
        failed = [f"{finding.check}: {finding}" for finding in self.findings if not finding.enough]
        found = self.change[self.metric]
        if found.high < -self.allowed:
            value, low, high = (figure(self.metric, number, "+") for number in (found.value, found.low, found.high))
            least = figure(self.metric, -self.allowed, "+")
            failed.append(
                f"{heading(self.metric)} changed by {value} [{low}, {high}], and gate_max_regression allows {least}"
            )
        return failed

    def content(self, digest: str, server: str, version: str) -> dict[str, Any]:
        """Return the look as one line of the log; intervals are of 95 %."""
        standings = self.comparison.standings
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "verdict": "drift" if self.reasons else "steady",
            "reasons": self.reasons,
            "model": self.subject.tag,
            "release": self.subject.version,
            "digest": digest,
            "server": server,
            "server_version": version,
            "checks": {finding.check: str(finding) for finding in self.findings},
            "items": standings["tuned"].items,
            "other_prompts": self.answered.other_prompts,
            "unanswered": self.answered.unanswered,
            "metric": self.metric,
            "recorded": {name: standings["base"].scores[name] for name in self.change},
            "served": {name: standings["tuned"].scores[name] for name in self.change},
            "change": {name: found._asdict() for name, found in self.change.items()},
        }


def last_look(model: str) -> Mapping[str, Any] | None:
    """Return the newest whole line of the log on a served name; None where there is none."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines() if LOG.is_file() else []
    looks = (look for line in reversed(lines) if (look := _read(line)))
    return next((look for look in looks if look.get("model") == model), None)


def _read(line: str) -> dict[str, Any]:
    """Return a look; empty for a line that a full disk or a cut of power has torn, which no later look depends on."""
    try:
        look = json.loads(line)
    except ValueError:
        return {}
    return look if isinstance(look, dict) else {}


def append(look: Mapping[str, Any]) -> None:
    """Add a line to the log; one write, so that two looks at once leave two whole lines."""
    LOG.parent.mkdir(exist_ok=True)
    before = LOG.read_bytes()[-1:] if LOG.is_file() else b""
    start = "" if before in (b"", b"\n") else "\n"  # after a line that was torn
    with LOG.open("a", encoding="utf-8") as stream:
        stream.write(f"{start}{json.dumps(look, ensure_ascii=False)}\n")


def since(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Return what is another one than at the last look, as sentences."""
    if before is None:
        return []
    named = {"digest": "the model", "server": "the server", "server_version": "the version of Ollama"}
    return [
        f"since {before['time']}, {what} is another one: {before[key]:.{SHOWN}} before, {now[key]:.{SHOWN}} now"
        for key, what in named.items()
        if before[key] != now[key]
    ]
