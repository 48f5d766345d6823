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
        ("eg==1.2.3", "eg>=1.2.3", "packages.0.requirement: String should match pattern"),
        ("eg==1.2.3", "--index-url=http://evil eg==1.2.3", "packages.0.requirement: String should match pattern"),
        ("31f221b2", "31F221B2", "packages.0.sha256: String should match pattern"),
        ("    license: MIT\n", "", "packages.0.license: Field required"),
        ("format: eg", "format: tldr", "packages.0.format: Input should be 'eg' or 'cheat'"),
        ("format: eg", "format: eg\n    skips: [vim]", "packages.0.skips: Extra inputs are not permitted"),
        ("packages:", "package:", "packages: Field required"),
        ("packages:", "packages: [", "is not valid YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_that_is_wrong(read, old, new, message):
    assert old in GOOD
    with pytest.raises(DataError) as error:
        read(GOOD.replace(old, new))
    assert message in error.value.problem
    assert error.value.where.endswith("recipe.yaml")


def test_an_empty_recipe_is_refused(read):
    with pytest.raises(DataError, match="is not a recipe"):
        read("")


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        recipe.read(tmp_path / "none.yaml")


def test_a_python_object_in_a_recipe_is_not_built(read):
    with pytest.raises(DataError):
        read("packages: !!python/object/apply:os.getcwd []")
