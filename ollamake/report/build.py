"""The report as a whole: the model in a few lines, then section by section."""

from pathlib import Path

from ollamake.report import answers, conversion, scores, training, usage
from ollamake.report.charts import TASKS
from ollamake.report.document import Document, Facts, last_part
from ollamake.report.markdown import code, plain
from ollamake.report.scores import amount
from ollamake.scoring.names import measure


def build(facts: Facts) -> Document:
    """Return the document."""
    sections = [
        training.data(facts),
        training.course(facts),
        scores.scores(facts),
        *scores.tasks(facts, Path(TASKS)),
        *scores.judge(facts),
        answers.samples(facts),
        answers.flips(facts),
        conversion.parity(facts),
        usage.run(facts),
        usage.rebuild(),
    ]
    return Document(facts.settings.ollama_model, lead(facts), sections)


def lead(facts: Facts) -> str:
    """Return what the model is, how good, and in which file, a line each."""
    settings, gate = facts.settings, facts.gate
    source, rows = code(last_part(settings.data_source)), facts.tokenize["train"]["rows"]
    metric = gate["metric"]
    before, after = (amount(metric, gate[model][metric]) for model in ("base", "tuned"))
    low, high = (amount(metric, end) for end in gate["intervals"]["tuned"][metric])
    name, served = next(iter(facts.files.items()))
    checks = sum(served["checks"].values())
    return f"""\
{code(facts.base_name)}, fine-tuned on {rows:,} conversations of {source} ({settings.task}, \
method {settings.method}).

On {gate["items"]:,} held-out conversations: {plain(measure(metric).label)} {after} (95 % interval {low} to {high}), \
before training {before}.

Served as {code(f"model-{name}.gguf")}, {served["size_bytes"] / 1e6:,.1f} MB, which {checks:,} checks hold equal to \
the trained model.
"""
