"""Tensors are read one by one, as safetensors itself would read them."""

import pytest
import torch
from safetensors.torch import save_file

from ollamake.gguf.shards import read_shard

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "c": torch.tensor(3.0, dtype=torch.float16),
    "none": torch.empty((0, 4)),
}


def test_what_safetensors_writes_is_read_tensor_by_tensor(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    stored = read_shard(tmp_path / "x.safetensors")
    assert stored.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        read = stored[name].read()
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
    assert torch.equal(stored["a"].read(slice(1, 9)), TENSORS["a"][1:])
    assert torch.equal(stored["b"].read(slice(0, 1)), TENSORS["b"][:1])


def test_a_file_that_ends_within_a_tensor_is_no_shorter_tensor(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file(TENSORS, file)
    file.write_bytes(file.read_bytes()[:-1])
    last = list(read_shard(file).values())[-1]
    with pytest.raises(ValueError, match="length is greater than file size"):
        last.read()
