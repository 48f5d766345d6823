"""A scaled rope survives the import from GGUF, and whatever does not survive is seen in the answers."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter, RopeScalingType
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.gguf_file import GgufFile
from ollamake.resolve.gguf_import import import_gguf
from ollamake.resolve.gguf_rope import LLAMA3, llama3_factors, rope_scaling
from ollamake.resolve.weights_parity import check_weights_against_llama_cpp
from tests.contract_ollama.tiny_gguf import HEADS, HIDDEN, write_tiny_gguf
from tests.contract_ollama.workspace import JINJA

BASE = 100000.0
FACTORS = llama3_factors({"factor": 32.0, **LLAMA3}, BASE, HIDDEN // HEADS // 2)


@pytest.fixture(scope="module")
def stretched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF as of Llama 3.2."""
    more = {"rope_freqs.weight": np.array(FACTORS, np.float32)}
    return write_tiny_gguf(tmp_path_factory.mktemp("rope") / "llama3.gguf", chat_template=JINJA, more=more)


@pytest.fixture(scope="module")
def imported(stretched: Path) -> Path:
    """Its import, proved against llama.cpp. Do not write to it."""
    (stretched.parent / "imported").mkdir()
    import_gguf(stretched, stretched.parent / "imported")
    return stretched.parent / "imported"


def header(path: Path, kind: RopeScalingType | None = None, factors: list[float] | None = None) -> GgufFile:
    writer = GGUFWriter(path, "llama")
    writer.add_rope_freq_base(BASE)
    if kind:
        writer.add_rope_scaling_type(kind)
    if factors:
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(path)


@pytest.mark.parametrize(("base", "head", "factor"), [(500000.0, 64, 32.0), (500000.0, 128, 8.0), (BASE, 16, 32.0)])
def test_the_factors_are_those_of_transformers(base: float, head: int, factor: float) -> None:
    """Of Llama 3.2 1B, of Llama 3.1 8B, and of the tiny model."""
    scaling = {"rope_type": "llama3", "factor": factor, **LLAMA3}
    config = LlamaConfig(
        hidden_size=head, num_attention_heads=1, head_dim=head, max_position_embeddings=131072,
        rope_parameters={"rope_theta": base, **scaling},
    )  # fmt: skip
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = base ** -(np.arange(0, head, 2) / head)
    np.testing.assert_allclose(plain / scaled.numpy(), llama3_factors(scaling, base, head // 2), rtol=1e-5)


def test_the_scaling_of_llama_3_stands_in_the_configuration(imported: Path) -> None:
    assert read_json(imported / "config.json")["rope_parameters"] == {
        "rope_theta": BASE,
        "rope_type": "llama3",
        "factor": 32.0,
        **LLAMA3,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("rope_parameters", {"rope_theta": 10000.0, "rope_type": "default"}), ("rms_norm_eps", 0.5)],
)
def test_a_description_that_lost_something_is_seen_in_the_answers(
    imported: Path, stretched: Path, tmp_path: Path, key: str, value: object
) -> None:
    for file in imported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_json(tmp_path / "config.json", {**read_json(tmp_path / "config.json"), key: value})
    with pytest.raises(BaseModelError, match=r"\d nats apart on a likely token") as raised:
        check_weights_against_llama_cpp(tmp_path, stretched, rounded=False)
    assert "hub id" in raised.value.hint


@pytest.mark.parametrize("kind", [RopeScalingType.LINEAR, RopeScalingType.YARN, RopeScalingType.LONGROPE])
def test_any_other_scaling_is_refused(tmp_path: Path, kind: RopeScalingType) -> None:
    with pytest.raises(BaseModelError, match=f"scales its rope by {kind.value}, which is not taken over") as raised:
        rope_scaling(header(tmp_path / "a.gguf", kind))
    assert "hub id" in raised.value.hint


def test_factors_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="otherwise than Llama 3.1 does"):
        rope_scaling(header(tmp_path / "a.gguf", factors=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))


@pytest.mark.parametrize("kind", [None, RopeScalingType.NONE])
def test_without_a_scaling_nothing_is_added(tmp_path: Path, kind: RopeScalingType | None) -> None:
    assert rope_scaling(header(tmp_path / "a.gguf", kind)) == {}
