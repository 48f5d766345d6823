"""The files that take a training to a rented machine: a SkyPilot task, and a script for any machine."""

import shlex
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from ollamake.cloud.estimate import FORMULA
from ollamake.cloud.machine import Machine
from ollamake.files import atomic_write

TASK, SETUP = "train.sky.yaml", "setup.sh"
AGAIN = "Rendered by `python -m ollamake cloud render` from params.yaml: render it again when that has changed."
# SkyPilot starts this on every machine at once and tells each which it is, where the first is, and its GPUs.
RUN_ONE = """\
export NUM_GPUS="$SKYPILOT_NUM_GPUS_PER_NODE"
bash {script} run
"""
RUN_SEVERAL = """\
export NUM_GPUS="$SKYPILOT_NUM_GPUS_PER_NODE"
export NODE_RANK="$SKYPILOT_NODE_RANK"
export MASTER_ADDR="$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"
bash {script} run
"""


@dataclass(frozen=True)
class Plan:
    """What is to run where: `model` and `method` for people, `infra` a cloud of SkyPilot's, `remote` one of DVC's.

    `infra` and `remote` may be empty: any cloud that has the machine; results that are copied by hand.
    """

    model: str
    method: str
    machine: Machine
    nodes: int
    target: str
    infra: str
    remote: str


def write(plan: Plan, folder: Path) -> list[Path]:
    """Write both files to `folder` and return their paths."""
    paths = [folder / TASK, folder / SETUP]
    for path, text in zip(paths, (task(plan, folder), setup(plan)), strict=True):
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")
    paths[1].chmod(0o755)
    return paths


def task(plan: Plan, folder: Path) -> str:
    """Return the SkyPilot task. `folder`, where the script lies, is relative to the repository."""
    script = shlex.quote(str(folder / SETUP))
    resources: dict[str, Any] = {"infra": plan.infra} if plan.infra else {}
    resources |= {
        "accelerators": f"{plan.machine.gpu}:{plan.machine.gpus}",
        "memory": f"{plan.machine.memory}+",
        "disk_size": plan.machine.disk,
    }
    content = {
        "name": "ollamake-train",
        "workdir": ".",
        "num_nodes": plan.nodes,
        "resources": resources,
        "setup": LiteralScalarString(f"bash {script} install\n"),
        "run": LiteralScalarString((RUN_SEVERAL if plan.nodes > 1 else RUN_ONE).format(script=script)),
    }
    text = StringIO()
    yaml = YAML()
    yaml.width = 1000
    yaml.dump(content, text)
    start = f"sky launch --cluster ollamake --idle-minutes-to-autostop 30 {shlex.quote(str(folder / TASK))}"
    head = [AGAIN, f"{plan.model}, method {plan.method}: an estimated {plan.machine.estimate},", f"which is {FORMULA}."]
    return "".join(f"# {line}\n" for line in [*head, f"Start it with: {start}"]) + text.getvalue()


def setup(plan: Plan) -> str:
    """Return the script for a Debian or Ubuntu machine with NVIDIA's driver, whoever rents it out."""
    body = Path(__file__).with_name(SETUP).read_text(encoding="utf-8")
    return f"""\
#!/usr/bin/env bash
# {AGAIN}
# Needs Debian or Ubuntu with NVIDIA's driver, {plan.machine.gpus} × {plan.machine.gpu} or better, and the files of this
# repository. Secrets, where the base model or the remote wants any, come from the environment (HF_TOKEN and its like).
set -euo pipefail

TARGET={shlex.quote(plan.target)}
REMOTE={shlex.quote(plan.remote)} # of DVC; empty: data and results are copied by hand
GPUS={plan.machine.gpus}

{body}"""
