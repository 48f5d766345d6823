import pytest

from ollamake.release.errors import ReleaseError
from ollamake.release.version import bumped, is_version, numbers


@pytest.mark.parametrize(
    ("latest", "part", "expected"),
    [
        (None, "patch", "1.0.0"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "major", "2.0.0"),
        ("1.9.0", "minor", "1.10.0"),
    ],
)
def test_versions_count_up(latest: str | None, part: str, expected: str) -> None:
    assert bumped(latest, part) == expected


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["1.10.0", "1.9.0", "2.0.0"], key=numbers) == ["1.9.0", "1.10.0", "2.0.0"]


@pytest.mark.parametrize(
    "text", ["", "1.0", "v1.0.0", "1.0.0+x", "1.0.0-rc1", "01.0.0", "1.0.0\n", "١.0.0", "1.0.9999999"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(ReleaseError, match="is no version"):
        numbers(text)
