"""The trained model itself, asked what it would have said where llama.cpp answered."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.gguf.layerwise import load_layerwise, stored_names
from ollamake.gguf.merge import TrainedWeights
from ollamake.gguf.runtime import Transcript
from ollamake.gguf.whole import load_trained

# What is computed at once: so many tokens, with padding, and logits that take an eighth of the output matrix's memory.
PASS_TOKENS, LOGITS_SHARE = 2048, 1 / 8


Said = tuple[tuple[int, ...], tuple[int, ...]]  # prompt and answer of a transcript


@dataclass(frozen=True)
class Judgement:
    """What the trained model thinks at each token of a transcript: its own first choice, and its log-probability
    (in nats) of the token that llama.cpp chose."""

    first_choices: tuple[int, ...]
    logprobs: tuple[float, ...]


class TrainedModel:
    """The trained model in fp32 on the CPU. An adapter is not merged, so that the proof covers the merge too.

    A layer at a time is in memory, unless transformers names or joins the weights otherwise than the files.
    """

    def __init__(self, base: Base, tuned: Path) -> None:
        self._weights = TrainedWeights(base.folder, tuned)
        self._model = load_layerwise(self._weights, tuned)
        self._hollow = self._model is not None
        if not self._hollow:
            whole = load_trained(base.folder, tuned)
            self._model = whole.get_base_model() if self._weights.adapted else whole
        self._names = stored_names(self._model, self._weights)
        self._judged: dict[Said, Judgement] = {}

    def judge(self, transcripts: Sequence[Transcript]) -> list[Judgement]:
        """Force the answers on the model, each in one forward pass: one token on which the two differ then stays one.

        What several files have said is judged once: the reference answers, and often their own. Many at once take few
        passes, each of which reads all the weights.
        """
        for batch in self._batches({_key(one) for one in transcripts} - self._judged.keys()):
            self._judged.update(zip(batch, self._forced(batch), strict=True))
        return [self._judged[_key(one)] for one in transcripts]

    def _batches(self, keys: Iterable[Said]) -> Iterator[list[Said]]:
        """Yield those of similar length together, as many as fit."""
        most_answers = LOGITS_SHARE * self._model.get_output_embeddings().weight.shape[1]
        batch: list[Said] = []
        for key in sorted(keys, key=lambda key: (len(key[0]) + len(key[1]), key)):
            together = [*batch, key]
            tokens = len(together) * (len(key[0]) + len(key[1]))
            if batch and (tokens > PASS_TOKENS or sum(len(answer) for _, answer in together) > most_answers):
                yield batch
                together = [key]
            batch = together
        if batch:
            yield batch

    def _forced(self, batch: Sequence[Said]) -> Iterator[Judgement]:
        import torch

        # Rows begin together, and no token sees those behind it: what fills the shorter ones up changes nothing.
        rows = [torch.tensor(prompt + answer) for prompt, answer in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        # The last prompt token predicts the first of the answer; nothing is asked of the last.
        asked = torch.cat(
            [
                torch.arange(len(answer)) + number * ids.shape[1] + len(prompt) - 1
                for number, (prompt, answer) in enumerate(batch)
            ]
        )
        head = self._model.get_output_embeddings()
        chosen = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[asked],))
        try:
            with torch.inference_mode():
                logits = self._model(ids, use_cache=False).logits
        finally:
            chosen.remove()
        counts = [len(answer) for _, answer in batch]
        for (_, answer), mine in zip(batch, logits.split(counts), strict=True):
            logprobs = mine.log_softmax(-1).gather(1, torch.tensor(answer).unsqueeze(1)).squeeze(1)
            yield Judgement(tuple(mine.argmax(-1).tolist()), tuple(logprobs.tolist()))

    def weight(self, name: str, *, adapted: bool = True) -> Any:
        """Return the matrix of a layer as numpy has it, with its adapter merged or left out; None for no such layer."""
        import torch

        if not (layer := self._layer(name)):
            return None
        adapter = layer if hasattr(layer, "base_layer") else None
        held = (adapter.get_base_layer() if adapter else layer).weight
        kept = held.data
        # Merged in a copy: taking an adapter out again leaves other bits behind.
        held.data = self._weights.read_unmerged(self._names[held]).float() if self._hollow else kept.clone()
        with torch.no_grad():
            if adapter and adapted:
                adapter.merge()
                adapter.merged_adapters.clear()
        found, held.data = held.data, kept
        return found.numpy()

    def rows(self, name: str, count: int) -> Iterator[Any]:
        """Yield the matrix of a layer, an adapter merged, so many rows at a time; nothing for no such layer."""
        layer = self._layer(name)
        if layer and self._hollow and not hasattr(layer, "base_layer"):
            stored = self._weights.stored[self._names[layer.weight]]
            for start in range(0, stored.shape[0], count):
                yield stored.read(slice(start, start + count)).float().numpy()
        elif layer:
            matrix = self.weight(name)
            yield from (matrix[start : start + count] for start in range(0, len(matrix), count))

    def _layer(self, name: str) -> Any:
        return dict(self._model.named_modules()).get(name)


def _key(transcript: Transcript) -> Said:
    return transcript.prompt, transcript.answer
