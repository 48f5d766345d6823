"""A base model's dimensions, and what follows from them: the number of its weights, and of an adapter's."""

from typing import NamedTuple

from ollamake.plan.shape import Shape as PlannedShape

# What sets a class of model apart from Llama's: norms before and after each part of a layer; joined matrices; biases of
# queries, keys and values; biases everywhere, one norm a layer and no gate.
GEMMA2, PHI3, QWEN2, PHI = "Gemma2ForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "PhiForCausalLM"
EXPERTS = ("gate_proj", "up_proj", "down_proj")
STORED_BYTES = 2


class Shape(NamedTuple):
    """The dimensions in config.json, under its class of model in transformers."""

    architecture: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    experts: int

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer by the names of their modules: inputs and outputs. Experts are counted once."""
        queries, keys = self.heads * self.head_width, self.key_value_heads * self.head_width
        down = {"down_proj": (self.feed_forward, self.width)}
        if self.architecture == PHI3:
            fused = {"qkv_proj": (self.width, queries + 2 * keys), "gate_up_proj": (self.width, 2 * self.feed_forward)}
            return {**fused, "o_proj": (queries, self.width), **down}
        attention = {"q_proj": (self.width, queries), "k_proj": (self.width, keys), "v_proj": (self.width, keys)}
        if self.architecture == PHI:
            feeding = {"fc1": (self.width, self.feed_forward), "fc2": (self.feed_forward, self.width)}
            return {**attention, "dense": (queries, self.width), **feeding}
        feeding = dict.fromkeys(("gate_proj", "up_proj"), (self.width, self.feed_forward)) | down
        return {**attention, "o_proj": (queries, self.width), **feeding}

    @property
    def parameters(self) -> int:
        """The number of weights."""
        matrices = self.matrices
        biased = {QWEN2: ("q_proj", "k_proj", "v_proj"), PHI: tuple(matrices)}.get(self.architecture, ())
        norm = 2 * self.width if self.architecture == PHI else self.width
        norms = norm * {GEMMA2: 4, PHI: 1}.get(self.architecture, 2)
        layer = norms + sum(matrices[name][1] for name in biased)
        for name, (inputs, outputs) in matrices.items():
            layer += inputs * outputs * (self.experts if name in EXPERTS else 1)
        router = self.width * self.experts if self.experts > 1 else 0
        return self.layers * (layer + router) + norm + self.embeddings

    @property
    def embeddings(self) -> int:
        """The number of weights of the embedding and the output matrix, which are one where they are tied."""
        head_bias = self.vocabulary if self.architecture == PHI else 0
        return self.vocabulary * self.width * (1 if self.tied else 2) + head_bias

    @property
    def joined(self) -> int:
        """The number of weights of all experts, which transformers keeps in joined tensors; 0 without experts."""
        sizes = [inputs * outputs for name, (inputs, outputs) in self.matrices.items() if name in EXPERTS]
        return self.layers * self.experts * sum(sizes) if self.experts > 1 else 0

    @property
    def adapters(self) -> dict[str, int]:
        """The weights of an adapter of rank 1 on all linear layers of each name; experts are none."""
        left_out = EXPERTS if self.experts > 1 else ()
        return {name: self.layers * sum(size) for name, size in self.matrices.items() if name not in left_out}

    def planned(self, name: str) -> PlannedShape:
        """Return the shape as `ollamake plan` takes it."""
        return PlannedShape(
            name=name,
            parameters=self.parameters,
            body=self.parameters - self.embeddings,
            stored_bytes=STORED_BYTES * self.parameters,
            hidden=self.width,
            intermediate=self.feed_forward,
            layers=self.layers,
            vocabulary=self.vocabulary,
            key_value=2 * self.key_value_heads * self.head_width,
            adapters=self.adapters,
        )
