"""TRL's SFTTrainer as its documentation shows it: a model, rows, a LoraConfig, `train()`.

    python -m benchmarks.peers.trl_script SETTINGS.json

Rows are conversations of `prompt` and `completion`, so that the completion alone carries loss, or token ids with a
`completion_mask`. What the settings do not name stays at TRL's own default.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    from datasets import load_dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    settings = json.loads(Path(sys.argv[1]).read_text())
    trainer = SFTTrainer(
        model=settings["base"],
        args=SFTConfig(**settings["arguments"]),
        train_dataset=load_dataset("json", data_files=settings["rows"], split="train"),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **settings["lora"]) if settings["lora"] else None,
    )
    trainer.train()
    trainer.save_model()
    labels = (trainer.data_collator([row])["labels"] for row in trainer.train_dataset)
    print("supervised tokens", sum(int((row != -100).sum()) for row in labels))


if __name__ == "__main__":
    main()
