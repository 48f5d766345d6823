"""How to run the model, and how to make it again."""

import shlex

from ollamake.report.document import Facts, Section
from ollamake.report.markdown import bullets, code, commands, table

MODELFILE = "models/export/Modelfile"


def run(facts: Facts) -> Section:
    """Return the section with the commands that run the model."""
    model, system = facts.settings.ollama_model, facts.settings.system_prompt
    files = [
        [code(f"models/gguf/model-{name}.gguf"), f"{each['size_bytes'] / 1e6:,.1f} MB", "served" * (place == 0)]
        for place, (name, each) in enumerate(facts.files.items())
    ]
    served = f"models/gguf/model-{next(iter(facts.files))}.gguf"
    prompt = f" -sys {shlex.quote(system)}" if system else ""
    parts = [
        "With Ollama, once the build has served it:",
        commands(f"ollama run {model}"),
        "By hand, on a machine that has the files:",
        commands(f"ollama create {model} -f {MODELFILE}"),
        "With llama.cpp, whose `--jinja` takes the chat template from the file, the one of training:",
        commands(f"llama-cli -m {served} --jinja --temp 0{prompt}"),
        table(["file", "size", ""], files),
    ]
    return Section("How to run it", "\n\n".join(parts))


def rebuild() -> Section:
    """Return the section with the commands that fetch or repeat the build."""
    lines = [
        "`params.yaml` holds every parameter, `dvc.lock` the hash of every file that went in and came out",
        "`dvc exp run -S lora_rank=32` tries another value, and `dvc metrics diff` compares its scores with these",
        "`dvc plots diff HEAD` draws the curves of both",
        "`python -m ollamake release list` shows what was released, `release deploy` serves it on this machine",
    ]
    parts = [
        "In a clone of this repository, at the commit that this report belongs to:",
        commands(
            "make setup && source .venv/bin/activate",
            "dvc pull   # what was built, from the remote",
            "dvc repro  # what is missing or changed",
        ),
        bullets(lines),
    ]
    return Section("How to make it again", "\n\n".join(parts))
