"""A tiny trained model for the tests of convert: a random base and a random adapter that changes its answers."""

import shutil
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ollamake.base import Base
from ollamake.files import write_json
from ollamake.gguf.build import Built, build
from ollamake.gguf.parity import probe_questions
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.proof import prove
from tests.tiny import FEED_FORWARD, HIDDEN, LAYERS

RANK, NEW_TOKENS = 4, 10


def write_adapter(folder: Path, spread: float = 0.05) -> Path:
    """Write a random LoRA on the MLPs in PEFT's format; 0 makes one that changes nothing."""
    random = np.random.default_rng(1)
    shapes = {"gate_proj": (FEED_FORWARD, HIDDEN), "down_proj": (HIDDEN, FEED_FORWARD)}
    weights = {}
    for layer in range(LAYERS):
        for module, (outputs, inputs) in shapes.items():
            name = f"base_model.model.model.layers.{layer}.mlp.{module}"
            weights[f"{name}.lora_A.weight"] = random.normal(0, spread, (RANK, inputs)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = random.normal(0, spread, (outputs, RANK)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_alpha": 64, "r": RANK}
    write_json(folder / "adapter_config.json", {**config, "target_modules": list(shapes)})
    return folder


def conversation(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"What is {number} + {number * 77}, and why?"},
        {"role": "assistant", "content": "never asked"},
    ]


@dataclass(frozen=True)
class Workbench:
    """A tiny trained model, its right F16 file, and the gate."""

    base: Base
    adapter: Path
    f16: Path
    folder: Path

    @property
    def prompts(self):
        return Prompts.of(self.base)

    def gate(self, file, name="F16", base=None):
        """Prove a file, as the stage does."""
        base = base or self.base
        prompts = Prompts.of(base)
        rows = [{"id": str(number), "messages": conversation(number)} for number in range(6)]
        questions = probe_questions(rows, "Be brief.", prompts, 4, 400)
        return prove([Built(name, file, 0.0)], base, self.adapter, prompts, questions, [], name, NEW_TOKENS)[0]

    def copy(self, name):
        return Path(shutil.copyfile(self.f16, self.folder / f"{name}.gguf"))


@cache
def workbench(tiny_base: Path) -> Workbench:
    """Return the workbench of this process, made beside the base model; nothing is written over what it holds."""
    folder = tiny_base.with_name("parity")
    folder.mkdir()
    base = Base(tiny_base, {"name": "tiny", "architecture": "LlamaForCausalLM"})
    adapter = write_adapter(folder / "adapter")
    scratch, out = folder / "scratch", folder / "out"
    scratch.mkdir()
    out.mkdir()
    file = build(base, adapter, Prompts.of(base), ["F16"], scratch, out)[0].file
    return Workbench(base, adapter, file, folder)


def overwrite(file: Path, key: str, layout: str, value) -> Path:
    """Put another value behind a metadata key of the same type."""
    content = bytearray(file.read_bytes())
    place = content.index(key.encode()) + len(key) + 4  # the type stands between
    content[place : place + struct.calcsize(layout)] = struct.pack(layout, value)
    file.write_bytes(content)
    return file


def respell(file: Path, old: bytes, new: bytes) -> Path:
    content = file.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, new))
    return file


def failures(caught):
    return [line.strip(" ✗") for line in caught.value.problem.splitlines() if "✗" in line]
