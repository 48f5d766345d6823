"""The header of a GGUF file: what the model is, its vocabulary and its chat template."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError

MAGIC = b"GGUF"
WHOLE = ("F32", "F16", "BF16")  # types that round nothing a model was trained with


class GgufFile:
    """A GGUF file, read lazily through the `gguf` package; tensors are mapped into memory, not loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _reader(self) -> Any:
        from gguf import GGUFReader

        with self._opened() as stream:
            if stream.read(4) != MAGIC:
                raise BaseModelError("is not a GGUF file: it does not start with GGUF", where=str(self.path))
        try:
            return GGUFReader(self.path)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise BaseModelError(
                f"is a damaged GGUF file: {error}", where=str(self.path), hint="download it again"
            ) from error

    def _opened(self) -> Any:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise BaseModelError(f"cannot be read: {error.strerror}", where=str(self.path)) from error

    def get(self, key: str) -> Any:
        """Return the value of a metadata key, None when the file has no such key."""
        field = self._reader.fields.get(key)
        return None if field is None else field.contents()

    def require(self, key: str) -> Any:
        """Return the value of a metadata key. Raises BaseModelError when the file has no such key."""
        value = self.get(key)
        if value is None:
            raise BaseModelError(f"lacks the metadata key {key}", where=str(self.path), hint="name the hub id instead")
        return value

    @property
    def architecture(self) -> str:
        """The name llama.cpp gives the architecture, such as `llama`."""
        return str(self.require("general.architecture"))

    @property
    def context_length(self) -> int:
        """The longest sequence the model was made for, in tokens."""
        return int(self.require(f"{self.architecture}.context_length"))

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(int(tensor.n_elements) for tensor in self._reader.tensors)

    @property
    def tensor_names(self) -> list[str]:
        """The names of all tensors."""
        return [str(tensor.name) for tensor in self._reader.tensors]

    def tensor(self, name: str) -> Any:
        """Return an unquantized tensor as a numpy array, None when the file has no such tensor."""
        return next((tensor.data for tensor in self._reader.tensors if tensor.name == name), None)

    @property
    def quantization(self) -> str:
        """The type of most weights, such as Q4_1: what is lost by it stays lost."""
        from gguf import LlamaFileType

        number = self.get("general.file_type")
        known: dict[int, str] = {int(kind): kind.name for kind in LlamaFileType}
        return known.get(number, "unknown").removeprefix("MOSTLY_").removeprefix("ALL_")

    @property
    def is_rounded(self) -> bool:
        """Whether most weights have less than 16 bits, as far as the file tells."""
        return self.quantization not in WHOLE

    def special_token(self, role: str) -> tuple[int, str] | None:
        """Return id and text of the `bos`, `eos`, `unknown` or `padding` token, None when the file names none."""
        token_id = self.get(f"tokenizer.ggml.{role}_token_id")
        return None if token_id is None else (int(token_id), str(self.tokens[token_id]))

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary, by token id."""
        return list(self.require("tokenizer.ggml.tokens"))
