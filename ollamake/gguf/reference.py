"""The trained model itself, asked what it would have said where llama.cpp answered."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.gguf.merge import load_trained
from ollamake.gguf.runtime import Transcript


@dataclass(frozen=True)
class Judgement:
    """What the trained model thinks at each token of a transcript: its own first choice, and its log-probability
    (in nats) of the token that llama.cpp chose."""

    first_choices: tuple[int, ...]
    logprobs: tuple[float, ...]


class TrainedModel:
    """The trained model in fp32 on the CPU. An adapter is not merged, so that the proof covers the merge too."""

    def __init__(self, base: Base, tuned: Path) -> None:
        self._model = load_trained(base, tuned)
        self._judged: dict[tuple[tuple[int, ...], tuple[int, ...]], Judgement] = {}

    def judge(self, transcript: Transcript) -> Judgement:
        """Force the answer on the model, in one forward pass: one token on which the two differ then stays one.

        What several files have said is judged once: the reference answers, and often their own.
        """
        key = transcript.prompt, transcript.answer
        if key not in self._judged:
            self._judged[key] = self._forced(transcript)
        return self._judged[key]

    def _forced(self, transcript: Transcript) -> Judgement:
        import torch

        ids = torch.tensor([transcript.prompt + transcript.answer])
        with torch.inference_mode():
            # The last prompt token predicts the first of the answer; nothing is asked of the last.
            logits = self._model(ids, logits_to_keep=len(transcript.answer) + 1).logits[0, :-1]
            chosen = torch.tensor(transcript.answer).unsqueeze(1)
            logprobs = logits.log_softmax(-1).gather(1, chosen).squeeze(1)
        return Judgement(tuple(logits.argmax(-1).tolist()), tuple(logprobs.tolist()))

    def weight(self, name: str, *, adapted: bool = True) -> Any:
        """Return the matrix of a layer as numpy has it, with its adapter merged or left out; None for no such layer."""
        import torch

        model = self._model.get_base_model() if hasattr(self._model, "peft_config") else self._model
        layer = dict(model.named_modules()).get(name)
        if layer is None:
            return None
        with torch.no_grad():
            if hasattr(layer, "merge"):
                layer = copy.deepcopy(layer)  # taking an adapter out again leaves other bits behind
                if adapted:
                    layer.merge()
                layer = layer.get_base_layer()
            return layer.weight.float().numpy()
