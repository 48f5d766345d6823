"""Each failure that Ollama is known for ends an export with the reviewed text of known_failures.md."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract_ollama.known_failures import HEAD, PAGE, said, sections
from tests.contract_ollama.workspace import read_model
from tests.standin import StandIn, running
from tests.standin.faults import KNOWN


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One stand-in for all: each failure begins with an empty one."""
    with running(tmp_path_factory.mktemp("server")) as standin:
        yield standin


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    return sections(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_every_failure_and_no_other(page: dict[str, str]) -> None:
    assert PAGE.read_text(encoding="utf-8") == HEAD + "".join(page.values())
    assert list(page) == list(KNOWN)
    assert len(page) > 50


@pytest.mark.row("R4.6")
@pytest.mark.row("R4.7")
@pytest.mark.parametrize("name", KNOWN)
def test_a_person_reads_what_was_reviewed_and_nothing_is_half_done(
    shared: StandIn, converted: Path, tmp_path: Path, page: dict[str, str], name: str
) -> None:
    assert said(shared, read_model(converted, "ollamake-shell"), name, tmp_path / "receipt.json") == page[name]
    assert "\n    hint: " in page[name]
    given = "ollamake-shell:latest" in shared.store.names()
    assert given == (name == "delete of a bad name")  # the one that fails after the name is given
    assert '"status": "served"' not in (tmp_path / "receipt.json").read_text()
