"""What fetch accepts, the converter can write and the runtime can read: asked before anything is trained."""

import ast
import importlib.util
import mmap
from pathlib import Path

import pytest

from ollamake.errors import BaseModelError
from ollamake.files import write_json
from ollamake.gguf.metadata import ARCHITECTURES
from ollamake.gguf.write import CONVERTER
from ollamake.resolve import conversion, safety
from tests.golden.families import write_family


def registered():
    """The classes that the converter knows, read from its source: importing it would bring a second `gguf`."""
    tree = ast.parse((CONVERTER / "conversion/__init__.py").read_text())
    known = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "TEXT_MODEL_MAP"
    )
    return set(ast.literal_eval(known))


def test_every_architecture_that_fetch_accepts_is_known_to_the_converter():
    known = registered()
    assert len(known) > 100
    assert set(safety.ARCHITECTURES) <= known


def test_every_architecture_that_fetch_accepts_is_known_to_the_runtime_by_its_name_in_gguf():
    spec = importlib.util.find_spec("xllamacpp")
    library = next(Path(spec.origin).parent.glob("xllamacpp*.so"))
    with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert content.find(b"nosucharch\0") < 0
        for name in safety.ARCHITECTURES:
            assert content.find(ARCHITECTURES[name].encode() + b"\0") > 0, name


def test_a_tokenizer_that_the_converter_knows_is_accepted(tiny_base):
    conversion.check_convertible(tiny_base)


def test_a_way_of_splitting_text_that_the_converter_does_not_know_is_refused_before_any_training(tmp_path):
    folder = write_family("qwen2.5", tmp_path / "made-up")
    write_json(folder / "config.json", {"architectures": ["Qwen2ForCausalLM"]})
    with pytest.raises(BaseModelError, match="splits text in a way that llama.cpp's converter does not know"):
        conversion.check_convertible(folder)


@pytest.mark.parametrize("family", ["gemma", "phi3", "mistral-v0.2"])
def test_a_sentencepiece_tokenizer_without_its_scores_is_refused_before_any_training(family, tmp_path):
    folder = write_family(family, tmp_path / family)
    write_json(folder / "config.json", {"architectures": ["MistralForCausalLM"]})
    with pytest.raises(BaseModelError, match=r"lacks tokenizer\.model"):
        conversion.check_convertible(folder)
    (folder / "tokenizer.model").write_bytes(b"scores")
    conversion.check_convertible(folder)


def test_a_missing_converter_is_named_with_the_command_that_brings_it(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "KNOWING", tmp_path / "nowhere.py")
    with pytest.raises(BaseModelError, match="converter is not installed") as caught:
        conversion.check_convertible(tiny_base)
    assert caught.value.hint == "`make setup`"
