"""A look at the served model: proved once more, asked the test conversations again, and written down."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ollamake.modes.answering import ask
from ollamake.modes.drift import LOG, Report, append, last_look, since
from ollamake.modes.subject import Subject, find_subject
from ollamake.ollama.deploy import listed
from ollamake.release.channels import TagServer
from ollamake.release.session import reading
from ollamake.scoring.names import figure, heading


def look(version: str | None) -> bool:
    """Print what the served model is and answers, add it to the log, and return whether it has drifted.

    Raises OllamakeError where nothing can be measured: no server, no such model, no test conversations.
    """
    subject = find_subject(version)
    with reading() as server:
        report, content = _measure(server, subject)
    before = last_look(subject.tag)
    append(content)
    _show(report, content)
    for text in since(before, content):
        print(text)
    print(f"{content['verdict']}: {'; '.join(report.reasons) or 'what is served is what was recorded'}")
    print(f"written to {LOG}")
    return bool(report.reasons)


def _measure(server: TagServer, subject: Subject) -> tuple[Report, dict[str, Any]]:
    findings = subject.findings(server)
    report = Report.of(subject, findings, ask(server, subject))
    return report, report.content(server.digests()[subject.tag], server.url, server.version())


def _show(report: Report, content: dict[str, Any]) -> None:
    console = Console(highlight=False)
    title = f"{report.subject.tag} at {content['server']}, Ollama {content['server_version']}"
    console.print("\n".join([title, *listed(report.findings)]), soft_wrap=True, markup=False)
    counted = {"with another prompt, left out": "other_prompts", "without an answer": "unanswered"}
    notes = "".join(f", {content[key]} {what}" for what, key in counted.items() if content[key])
    table = Table(title=f"{content['items']} test conversations{notes}", title_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(("score", "recorded", "served", "change", "95 %")):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for name, found in report.change.items():
        recorded, served = figure(name, content["recorded"][name]), figure(name, content["served"][name])
        low, high = (figure(name, end, "+") for end in (found.low, found.high))
        table.add_row(heading(name), recorded, served, figure(name, found.value, "+"), f"{low} to {high}")
    console.print(table)
