from pathlib import Path

import pytest

from ollamake.errors import ConversionError
from ollamake.ollama.gguf_header import TOKENS, begin_of_text, read_header
from tests.contract_ollama.tiny_gguf import SPECIAL, write_tiny_gguf


def test_every_scalar_is_read_as_the_gguf_library_reads_it(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    fields = GGUFReader(path).fields
    expected = {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}
    scalars = {key: value for key, value in expected.items() if not isinstance(value, list)}
    header = read_header(path)
    assert header.pop(TOKENS) == expected[TOKENS]
    assert header == scalars
    assert len(scalars) > 15


@pytest.mark.parametrize("kept_bytes", [0, 3, 20, 100, 3000])
def test_a_torn_file_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ConversionError, match="no readable GGUF file"):
        read_header(path)


def test_a_file_of_another_kind_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"PK" * 100)
    for name in ("other", "missing"):
        with pytest.raises(ConversionError, match="no readable GGUF file"):
            read_header(tmp_path / name)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.model": "llama"}, ""),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.model": "gpt2"}, "<|im_start|>"),
        ({"tokenizer.ggml.model": "gpt2"}, ""),
        ({"tokenizer.ggml.model": "llama"}, "<|im_start|>"),
    ],
)
def test_the_runtime_begins_with_a_token_where_the_header_says_so(metadata: dict[str, object], text: str) -> None:
    assert begin_of_text({**metadata, "tokenizer.ggml.bos_token_id": 1, TOKENS: SPECIAL}) == text
