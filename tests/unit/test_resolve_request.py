from pathlib import Path

import pytest

from ollamake.errors import BaseModelError
from ollamake.resolve.catalog import read_catalog
from ollamake.resolve.folder import LocalFolder
from ollamake.resolve.gguf_import import LocalGguf
from ollamake.resolve.hub import HubModel
from ollamake.resolve.request import parse

CATALOG = read_catalog(Path(__file__).parents[2] / "models/catalog.yaml")
SMOL = CATALOG["smollm2:135m"]


def named(base_model, revision="pinned", root=Path("/nowhere")):
    return parse(base_model, revision, CATALOG, root)


@pytest.mark.parametrize("typed", ["smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_a_catalog_name_and_its_hub_id_are_the_same_pinned_commit(typed):
    assert named(typed) == HubModel("smollm2:135m", SMOL.hub_id, SMOL.revision, SMOL)


def test_a_revision_of_ones_own_takes_the_place_of_the_pinned_one_and_has_no_wheel():
    source = named("smollm2:135m", "main")
    assert (source.revision, source.wheel) == ("main", None)
    assert named("smollm2:135m").wheel is SMOL.wheel


def test_any_other_hub_id_is_taken_at_its_newest_commit():
    assert named("someone/some-model") == HubModel("someone/some-model", "someone/some-model", None, None)


def test_a_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models/mine").mkdir(parents=True)
    assert named("models/mine") == LocalFolder(Path("models/mine"))


def test_a_path_that_only_the_original_workspace_has_is_found_from_a_temporary_copy(tmp_path, monkeypatch):
    (tmp_path / "original/models/mine").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    assert named("models/mine", root=tmp_path / "original").path.samefile(tmp_path / "original/models/mine")


def test_a_gguf_file_is_recognised_by_its_ending(tmp_path):
    path = tmp_path / "a model.gguf"
    path.touch()
    assert named(str(path)) == LocalGguf(path)


@pytest.mark.parametrize(
    ("typed", "problem", "hint"),
    [
        ("smolm2:135m", "'smolm2:135m' is no name in models/catalog.yaml", "did you mean smollm2:135m"),
        ("ollama:two words", "ollama:two words: a model in Ollama must be", "`ollama list` shows the names"),
        ("zzz", "'zzz' is no name", "models/catalog.yaml has the names"),
        ("./missing", "./missing does not exist", "path"),
        ("missing.gguf", "missing.gguf does not exist", "path"),
        ("a/b/c", "'a/b/c' is no name", "has the names"),
        ("../../etc", "../../etc does not exist", "path"),
    ],
)
def test_a_name_that_fits_nothing_says_what_would(typed, problem, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BaseModelError) as raised:
        named(typed)
    assert raised.value.where == "params.yaml, base_model"
    assert problem in raised.value.problem
    assert hint in raised.value.hint


@pytest.mark.parametrize("failure", [PermissionError(13, "Permission denied"), RuntimeError("no home")])
def test_a_path_that_cannot_be_looked_at_is_an_error_with_a_hint(failure, monkeypatch):
    def refuse(_):
        raise failure

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(BaseModelError, match="/closed/model cannot be looked at"):
        named("/closed/model")


def test_the_home_of_nobody_is_an_error_with_a_hint():
    with pytest.raises(BaseModelError, match="~nosuchuser/model cannot be looked at"):
        named("~nosuchuser/model")


@pytest.mark.parametrize("typed", ["phi:2.7b", "microsoft/phi-2"])
def test_a_model_without_a_chat_template_is_refused_by_name(typed):
    with pytest.raises(BaseModelError, match="phi:2.7b .* has no chat template of its own") as raised:
        named(typed)
    assert "chat_format" in raised.value.hint
    assert "models/templates" in raised.value.hint


def test_a_model_without_a_chat_template_is_as_good_as_another_where_one_is_named():
    assert parse("phi:2.7b", "pinned", CATALOG, Path("/nowhere"), needs_template=False).hub_id == "microsoft/phi-2"


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    path = tmp_path / "model.bin"
    path.touch()
    with pytest.raises(BaseModelError, match="neither a folder nor a .gguf file"):
        named(str(path))


def test_a_revision_beside_a_local_path_is_refused(tmp_path):
    with pytest.raises(BaseModelError, match="has no revision main") as raised:
        named(str(tmp_path), "main")
    assert raised.value.where == "params.yaml, base_model_revision"
