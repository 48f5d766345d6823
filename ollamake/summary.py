"""What a build came to, on one screen: scores, parity, where each artifact lies, and how to run the model."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.scoring.names import figure, heading, measure

METRICS, GGUF, EXPORT = Path("metrics"), Path("models/gguf"), Path("models/export")
ARTIFACTS = (
    (GGUF, "the model for Ollama and any llama.cpp"),
    (Path("models/tuned"), "the adapter, or the whole model"),
    (EXPORT / "Modelfile", "for `ollama create -f`"),
    (Path("models/samples.md"), "answers of base and tuned side by side"),
    (Path("models/flips.md"), "what got better and worse"),
    (Path("models/report.html"), "all of it on one page"),
    (Path("plots"), "the curves: `dvc plots show`"),
)


def show() -> None:
    """Print the summary. Raises OllamakeError when there is no finished build."""
    console = Console()
    try:
        receipt = read_json(EXPORT / "receipt.json")
        gate, conversion = read_json(METRICS / "gate.json"), read_json(METRICS / "convert.json")
        tables = [training(read_json(METRICS / "train.json")), scores(gate), parity(conversion)]
    except FileNotFoundError as error:
        raise OllamakeError("there is no finished build", where=str(error.filename), hint="`make build`") from error
    console.print(Group(*tables, artifacts()))
    console.print(serving(receipt), highlight=False, soft_wrap=True)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """Return an empty table; all but the first `left` columns hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    return table


def training(figures: dict[str, Any]) -> Table:
    """Return what the training came to, in one line."""
    columns = ("val. loss", "at step", "gap", "overfitting", "tokens/s", "peak memory")
    ending = f", ended early at {figures['stopped_early']}" if "stopped_early" in figures else ""
    table = _table(f"Training of {figures['steps']} steps in {figures['seconds']:,.0f} s{ending}", *columns, left=0)
    table.add_row(
        f"{figures['best_val_loss']:.3f}",
        str(figures["best_step"]),
        f"{figures['overfitting']['gap']:+.3f}",
        figures["overfitting"]["verdict"],
        f"{figures['tokens_per_second']:,.0f}",
        f"{figures['peak_memory_mb']:,.0f} MB",
    )
    return table


def scores(gate: dict[str, Any]) -> Table:
    """Return base against tuned on the test set, as the gate saw them; a gain is positive where tuned is better."""
    verdict = f"gate on {measure(gate['metric']).label} {'passed' if gate['passed'] else 'FAILED'}"
    table = _table(f"{gate['items']} test conversations, {verdict}", "score", "base", "tuned", "gain", "95 %")
    for name, gain in gate["gain"].items():
        if not measure(name).better:
            continue
        before, after = (figure(name, gate[model][name]) for model in ("base", "tuned"))
        low, high = (figure(name, end, "+") for end in gate["intervals"]["gain"][name])
        table.add_row(heading(name), before, after, figure(name, gain, "+"), f"{low} to {high}")
    return table


def parity(conversion: dict[str, Any]) -> Table:
    """Return how near each GGUF is to the trained model."""
    columns = ("file", "size", "same token", "same answer", "log-prob. apart", "checks")
    table = _table("GGUF against the trained model", *columns)
    for name, file in conversion.items():
        if isinstance(file, dict):
            table.add_row(
                name,
                f"{file['size_bytes'] / 1e6:.1f} MB",
                f"{file['top1_agreement']:.1%} of {file['tokens']:.0f}",
                f"{file['exact_sequences']:.0f} of {file['prompts']:.0f}",
                f"{file['mean_abs_dlogprob']:.4f}",
                str(sum(file["checks"].values())),
            )
    return table


def artifacts() -> Table:
    """Return where everything lies, with its size."""
    table = _table("Artifacts", "where", "what", "size", left=2)
    for path, meaning in ARTIFACTS:
        table.add_row(str(path), meaning, _size(path))
    return table


def _size(path: Path) -> str:
    if not path.exists():
        return "missing"
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    return f"{total / 1e6:.1f} MB" if total >= 1e5 else f"{total / 1e3:.1f} kB"


def serving(receipt: dict[str, Any]) -> str:
    """Return the line to run the model, or why Ollama does not serve it and what finishes the job."""
    if receipt["status"] == "served":
        return f"Served and proved at {receipt['proved']['server']}. Try it:\n\n    ollama run {receipt['model']}"
    return (
        f"{receipt['status'].replace('not served', 'Not served', 1)}. Everything is kept; once a server runs:\n\n"
        f"    dvc repro export && ollama run {receipt['model']}"
    )
