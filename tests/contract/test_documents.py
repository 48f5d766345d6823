"""README.md and docs/ say what is so: commands exist, links lead somewhere, references are current, quotes are real."""

import ast
import importlib
import pkgutil
import re
from itertools import pairwise, product

import pytest

import ollamake
from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.reference.metrics import keys, sentence
from ollamake.reference.picture import source_digest
from ollamake.reference.sentences import FILES, SCORES
from ollamake.reference.write import PAGES, PICTURE
from ollamake.scoring.names import MEASURES
from tests.contract.graph import ROOT, stages
from tests.documented import LACKS, PARSED, commands, inline, other_blocks, pages, program, why_unknown

OTHER_BLOCKS = {
    "sources:": "a sources.yaml",
    "tiny 1.1.0 is": "what a release prints",
    "tiny:prod is": "what a rollback prints",
    "tag              channels": "the list of releases",
    "| score": "a page of release notes",
    '{"instruction"': "a row of data",
}
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = [path for path in PAGES if path != PICTURE]
TROUBLE = (ROOT / "docs/guides/troubleshooting.md").read_text()


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("command", sorted({command.text for command in commands() if program(command.text)}))
def test_a_documented_command_is_one_that_its_program_takes(command):
    if program(command) in PARSED:
        assert why_unknown(command) == ""


@pytest.mark.parametrize("command", sorted({command.text for command in inline()}))
def test_a_command_in_the_running_text_is_one_that_its_program_takes(command):
    why = why_unknown(command)
    assert why == "" or why.startswith(LACKS)


def test_a_command_that_does_not_exist_is_noticed():
    assert "No such option" in why_unknown("python -m ollamake data show --rows 17")
    assert "No such command" in why_unknown("python -m ollamake date")
    assert "invalid choice" in why_unknown("dvc repo")
    assert "no stage reads this parameter" in why_unknown("dvc exp run -S lora_rnk=8")
    assert "input should be a valid integer" in why_unknown("dvc exp run -S lora_rank=much")
    assert "No rule to make target" in why_unknown("make bulid")
    assert "No module named 'benchmarks.trian'" in why_unknown("python -m benchmarks.trian")
    assert "unrecognized arguments: --row 3" in why_unknown("python -m benchmarks.train --row 3")


def test_every_block_is_commands_or_something_that_is_named_here():
    assert len(commands()) > 50
    unknown = [block for block in other_blocks() if not block[1].startswith(tuple(OTHER_BLOCKS))]
    assert unknown == []


@pytest.mark.parametrize("page", REFERENCE, ids=str)
def test_a_page_of_the_reference_is_as_the_code_has_it(page):
    assert without_values(page.read_text()) == without_values(PAGES[page]()), "`make docs` writes it anew"


def without_values(text: str) -> list[str]:
    """The lines without the values of params.yaml, which are the user's to change."""
    return [re.sub(r"^(\| `\w+` \|) `.*?` (\|.*\|.*\|)$", r"\1\2", line) for line in text.splitlines()]


def test_the_picture_shows_the_metrics_of_the_repository():
    if source_digest() not in PICTURE.read_text():
        pytest.skip("metrics/ is of another build than the picture: `make docs` draws it anew")
    assert PICTURE.read_text() == PAGES[PICTURE]()
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+|<!--.*?-->", "", PICTURE.read_text())


@pytest.mark.parametrize("stage", sorted(FILES))
def test_every_number_of_the_metrics_has_its_sentence(stage):
    found = list(keys(read_json(ROOT / f"metrics/{stage}.json")))
    assert found
    assert [key for key in found if sentence(stage, key) is None] == []


def test_no_sentence_is_about_a_number_that_nobody_writes():
    files = [path for folder in ("ollamake", "stages") for path in (ROOT / folder).rglob("*.py")]
    code = " ".join(path.read_text() for path in files if path.parent.name != "reference")
    words = set(re.findall(r"\w+", code))
    described = {part for sentences in FILES.values() for pattern in sentences for part in re.split(r"[.|]", pattern)}
    assert len(described) > 80
    assert described - words - {"*"} == set()


def test_every_metrics_file_and_every_score_has_sentences():
    written = {out for stage in stages().values() for out in stage.outs if out.startswith("metrics/")}
    assert {f"metrics/{stage}.json" for stage in FILES} == written
    assert set(SCORES) == set(MEASURES)


def test_the_short_table_of_the_readme_says_what_the_long_one_says():
    reference = (ROOT / "docs/reference/params.md").read_text()
    after = {one: names(many) for one, many in re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", reference, re.MULTILINE)}
    first = {row[0]: names(row[1]) for row in re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", reference, re.MULTILINE)}
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| ((?:`\w+`(?:, )?)+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 7
    for keys_, reruns in rows:
        for key in names(keys_):
            assert names(reruns) == first[key].union(*(after[stage] for stage in first[key])), key


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_the_readme_names_every_stage_once_and_stays_short():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    assert [row for row in rows if row != "stage"] == list(stages())
    assert len(text.splitlines()) <= 150


def test_every_arrow_of_the_graph_in_the_readme_is_one_of_dvc_yaml():
    drawn = (ROOT / "README.md").read_text().split("```mermaid\n")[1].split("```")[0]
    chains = [[step.split(" & ") for step in line.strip().split(" --> ")] for line in drawn.splitlines()[1:]]
    pairs = {(one, other) for chain in chains for left, right in pairwise(chain) for one, other in product(left, right)}
    assert {name for pair in pairs for name in pair} == set(stages())
    read = {name: {str(dep) for dep in stage.deps} for name, stage in stages().items()}
    for one, other in pairs:
        outs = stages()[one].outs
        assert any(
            dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/") for dep in read[other] for out in outs
        ), (one, other)


def test_every_link_leads_to_a_page_and_a_heading():
    found = 0
    for page in [*pages(), *REFERENCE, ROOT / "releases/README.md"]:
        text = (ROOT / page).read_text()
        for target in LINK.findall(text):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            linked = ((ROOT / page).parent / path).resolve() if path else ROOT / page
            assert linked.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(linked.read_text()), f"{page}: {target}"
            found += 1
    assert found > 40


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen and page.suffix == ".md" and page.is_file():
            seen.add(page)
            todo += [(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(page.read_text())]
    assert [str(page) for page in (ROOT / "docs").rglob("*.md") if page not in seen] == []


def test_every_error_has_its_place_in_the_troubleshooting():
    for module in pkgutil.walk_packages(ollamake.__path__, "ollamake."):
        if module.name.rpartition(".")[2] in ("errors", "verdict", "refusals", "revision"):
            importlib.import_module(module.name)
    defined = {name for tree in sources() for name in error_classes(tree)}
    listed = set(re.findall(r"^\| (\w+Error) \|", TROUBLE, re.MULTILINE))
    assert len(defined) > 8
    assert listed == defined


def error_classes(tree: ast.AST) -> set[str]:
    known = {error.__name__ for error in [*descendants(OllamakeError)]}
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in known}


def descendants(error: type) -> list[type]:
    return [one for child in error.__subclasses__() for one in (child, *descendants(child))]


def sources() -> list[ast.AST]:
    return [ast.parse(path.read_text()) for folder in ("ollamake", "stages") for path in (ROOT / folder).rglob("*.py")]


def test_what_the_troubleshooting_quotes_is_said_somewhere():
    said = "\n".join(text for tree in sources() for text in texts(tree))
    quotes = [quote for bold in re.findall(r"\*\*(.+?)\*\*", TROUBLE) for quote in re.findall(r'"(.+?)"', bold)]
    assert len(quotes) > 15
    patterns = {quote: ".*?".join(map(re.escape, quote.split("…"))) for quote in quotes}
    assert [quote for quote, pattern in patterns.items() if not re.search(pattern, said)] == []


def texts(tree: ast.AST) -> list[str]:
    """The texts of a module, with … for what is put into them."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found
