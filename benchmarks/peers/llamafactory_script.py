"""LLaMA-Factory's own entry point, as `llamafactory-cli train` calls it, with a template that masks as ours does.

python -m benchmarks.peers.llamafactory_script SETTINGS.json
"""

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any


def stand_in(name: str) -> None:
    """Let `import name` succeed; LLaMA-Factory imports torchaudio for sounds, and its wheels are for other torches."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module


def main() -> None:
    stand_in("torchaudio")
    from llamafactory.data.formatter import StringFormatter
    from llamafactory.data.template import register_template
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    class Labels(TrainerCallback):
        def on_train_end(self, *_: Any, train_dataloader: Any, **__: Any) -> None:
            rows = train_dataloader.dataset["labels"]
            print("supervised tokens", sum(label != -100 for row in rows for label in row))

    # Its smollm2 puts a line break after the end of the answer, and learns it: one more token a row than ours.
    register_template(
        name="benchmark",
        format_user=StringFormatter(slots=["<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"]),
        format_assistant=StringFormatter(slots=["{{content}}<|im_end|>"]),
        format_system=StringFormatter(slots=["<|im_start|>system\n{{content}}<|im_end|>\n"]),
        stop_words=["<|im_end|>"],
    )
    run_exp(json.loads(Path(sys.argv[1]).read_text()), callbacks=[Labels()])


if __name__ == "__main__":
    main()
