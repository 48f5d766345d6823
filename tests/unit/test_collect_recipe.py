import pytest

from ollamake.collect import recipe
from ollamake.errors import DataError

GOOD = """
packages:
  - requirement: eg==1.2.3
    sha256: 31f221b24701a9fc4b034d9593f081859d943b14bf26b2e98190509b64e2622b
    license: MIT
    format: eg
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        (tmp_path / "recipe.yaml").write_text(text)
        return recipe.read(tmp_path / "recipe.yaml")

    return read_text


def test_a_recipe_names_its_packages(read):
    (package,) = read(GOOD).packages
    assert (package.name, package.requirement, package.skip) == ("eg", "eg==1.2.3", ())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("eg==1.2.3", "eg>=1.2.3", "line 3: requirement: string should match pattern"),
        ("eg==1.2.3", "--index-url=http://evil eg==1.2.3", "line 3: requirement: string should match pattern"),
        ("31f221b2", "31F221B2", "line 4: sha256: string should match pattern"),
        ("    license: MIT\n", "", "line 3: license: is missing"),
        ("format: eg", "format: tldr", "line 6: format: input should be 'eg' or 'cheat'"),
        ("format: eg", "format: eg\n    skips: [vim]", "line 7: skips: there is no such key; did you mean skip?"),
        ("packages:", "package:", "packages: is missing"),
        ("packages:", "packages: [", "is not valid YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_that_is_wrong(read, old, new, message):
    assert old in GOOD
    with pytest.raises(DataError) as error:
        read(GOOD.replace(old, new))
    assert message in error.value.problem
    assert "recipe.yaml" in error.value.where


def test_an_empty_recipe_is_refused(read):
    with pytest.raises(DataError, match="is not a recipe"):
        read("")


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        recipe.read(tmp_path / "none.yaml")


def test_a_python_object_in_a_recipe_is_not_built(read):
    with pytest.raises(DataError):
        read("packages: !!python/object/apply:os.getcwd []")
