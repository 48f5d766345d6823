"""The trained model itself, asked what it would have said where llama.cpp answered."""

from dataclasses import dataclass
from pathlib import Path

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

    def judge(self, transcript: Transcript) -> Judgement:
        """Force the answer on the model, in one forward pass: one token on which the two differ then stays one."""
        import torch

        ids = torch.tensor([transcript.prompt + transcript.answer])
        with torch.inference_mode():
            # The last prompt token predicts the first of the answer; nothing is asked of the last.
            logits = self._model(ids, logits_to_keep=len(transcript.answer) + 1).logits[0, :-1]
            chosen = torch.tensor(transcript.answer).unsqueeze(1)
            logprobs = logits.log_softmax(-1).gather(1, chosen).squeeze(1)
        return Judgement(tuple(logits.argmax(-1).tolist()), tuple(logprobs.tolist()))
