import re
from pathlib import Path

import pytest

from ollamake.errors import BaseModelError
from ollamake.resolve.catalog import close_names, find, read_catalog
from ollamake.resolve.safety import ARCHITECTURES

CATALOG = read_catalog(Path(__file__).parents[2] / "models/catalog.yaml")


def test_every_entry_is_pinned_and_of_a_supported_architecture():
    assert len(CATALOG) > 20
    for name, entry in CATALOG.items():
        assert re.fullmatch("[0-9a-f]{40}", entry.revision), name
        assert entry.architecture in ARCHITECTURES, name
        assert entry.parameters > 1e8, name


def test_an_entry_is_found_by_its_name_and_by_its_hub_id():
    assert find("smollm2:135m", CATALOG) == ("smollm2:135m", CATALOG["smollm2:135m"])
    assert find("HuggingFaceTB/SmolLM2-135M-Instruct", CATALOG) == find("smollm2:135m", CATALOG)
    assert find("smollm2", CATALOG) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("smolm2:135m", "smollm2:135m"),
        ("Llama3.2-1b", "llama3.2:1b"),
        ("qwen2.5:0.5", "qwen2.5:0.5b"),
        ("google/gemma-2b-it", "google/gemma-2-2b-it"),
    ],
)
def test_a_mistyped_name_finds_the_one_that_was_meant(typed, meant):
    assert meant in close_names(typed, CATALOG)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "", "smollm2:135m: {hub_id: a/b}\n", "a: {speed: 3}\n"])
def test_a_damaged_catalog_is_refused_with_its_path(text, tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    with pytest.raises(BaseModelError) as raised:
        read_catalog(path)
    assert raised.value.where == str(path)
