"""The header of a GGUF file: what the model is, its vocabulary and its chat template."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError

MAGIC = b"GGUF"
WHOLE = ("F32", "F16", "BF16")  # types that round nothing a model was trained with


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Raise BaseModelError for whatever a damaged file brings about while the block reads it."""
    try:
        yield
    except BaseModelError:
        raise
    except Exception as error:
        raise BaseModelError(f"is a damaged GGUF file: {error}", where=str(path), hint="download it again") from error


class GgufFile:
    """A GGUF file, read lazily through the `gguf` package; tensors are mapped into memory, not loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _reader(self) -> Any:
        with self._opened() as stream:
            if stream.read(4) != MAGIC:
                raise BaseModelError(
                    "is not a GGUF file: it does not start with GGUF",
                    where=str(self.path),
                    hint="set base_model to a .gguf file, a model folder or a hub id",
                )
        with damage_told(self.path):
            return _bounded_reader()(self.path)

    def _opened(self) -> Any:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise BaseModelError(
                f"cannot be read: {error.strerror}", where=str(self.path), hint="`ls -l` shows who may read it"
            ) from error

    def get(self, key: str) -> Any:
        """Return the value of a metadata key, None when the file has no such key."""
        field = self._reader.fields.get(key)
        with damage_told(self.path):
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
        with damage_told(self.path):
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
        known = (kind.name for kind in LlamaFileType if int(kind) == number)
        return next(known, "unknown").removeprefix("MOSTLY_").removeprefix("ALL_")

    @property
    def is_rounded(self) -> bool:
        """Whether most weights have less than 16 bits, as far as the file tells."""
        return self.quantization not in WHOLE

    def special_token(self, role: str) -> tuple[int, str] | None:
        """Return id and text of the `bos`, `eos`, `unknown` or `padding` token, None when the file names none."""
        token_id = self.get(f"tokenizer.ggml.{role}_token_id")
        with damage_told(self.path):
            return None if token_id is None else (int(token_id), str(self.tokens[token_id]))

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary, by token id."""
        return list(self.require("tokenizer.ggml.tokens"))


def _bounded_reader() -> type[Any]:
    from gguf import GGUFReader

    class Reader(GGUFReader):  # type: ignore[misc]
        """Stops at the end of the file, beyond which the library reads nothing, as often as the file says."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            import numpy as np

            if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("it ends too soon")
            return super()._get(offset, dtype, count, override_order)

    return Reader
