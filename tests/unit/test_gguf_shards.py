"""Tensors go through one by one, and come out as safetensors itself would read them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ollamake.gguf.shards import read_shard, write_shard

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


def test_what_is_written_tensor_by_tensor_safetensors_reads(tmp_path):
    kinds = {"a": ("F32", (2, 3)), "b": ("BF16", (2,)), "c": ("F16", ()), "none": ("F32", (0, 4))}
    write_shard(tmp_path / "x.safetensors", kinds, iter(TENSORS.values()))
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_another_tensor_than_announced_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"float32 of shape \(2, 3\) in place of F32 of \(3, 2\)"):
        write_shard(tmp_path / "x.safetensors", {"a": ("F32", (3, 2))}, iter([TENSORS["a"]]))
