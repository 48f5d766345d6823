"""What differs between the versions of Ollama that the stand-in can be (reference/ollama.md §0, §2, §4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Semantics:
    """The behaviour of a version, such as `0.33.0` or `0.33.0-rc2`."""

    version: str

    @property
    def has_llama_server(self) -> bool:
        """From 0.30 on: an uploaded GGUF is written anew by llama-quantize, and its Jinja template may be preferred."""
        return self._at_least(0, 30, 0)

    @property
    def takes_adapters(self) -> bool:
        """Until 0.34.1 a creation may bring a LoRA adapter."""
        return not self._at_least(0, 34, 1)

    @property
    def repeat_penalty(self) -> float:
        """The penalty of a model that sets none."""
        return 1.0 if self._at_least(0, 32, 10) else 1.1

    def _at_least(self, *numbers: int) -> bool:
        return tuple(map(int, self.version.partition("-")[0].split("."))) >= numbers
