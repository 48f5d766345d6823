import pytest
from pydantic import ValidationError

from ollamake.ollama.names import check_name, listed_name


@pytest.mark.parametrize(
    "name",
    ["a", "ollamake-shell", "smollm2:135m", "me/model:v1.2", "registry.ollama.ai/library/x_y:Q8_0", "host:5000/ns/m:t"],
)
def test_names_that_ollama_takes_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "two words", "-a", ".a", "a:", "a:b:c", "n.s/a", "a+b", "a:b+c", "ä", "a" * 81, "/a"]
)
def test_names_that_ollama_refuses_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        check_name(name)


@pytest.mark.parametrize("name", ["a:cloud", "a:local", "a:480b-cloud", "a:Cloud"])
def test_tags_that_mean_a_place_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="means a place"):
        check_name(name)


def test_a_tag_leaves_room_for_the_candidate() -> None:
    assert check_name("a:" + "b" * 70)
    with pytest.raises(ValueError, match="letters, digits"):
        check_name("a:" + "b" * 71)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("a", "a:latest"),
        ("a:b", "a:b"),
        ("h:5000/n/a", "h:5000/n/a:latest"),
        ("n/a:b", "n/a:b"),
        ("registry.ollama.ai/library/a", "a:latest"),
    ],
)
def test_the_name_is_the_one_that_ollama_lists(name: str, full: str) -> None:
    assert listed_name(name) == full


def test_a_stage_says_what_is_wrong_with_the_name() -> None:
    from stages.export import Params

    with pytest.raises(ValidationError, match="ollama_model"):
        Params.model_validate({"ollama_model": "two words"})
