"""The HTML page: the same words, charts inside, and nothing of the data that a browser would fetch or run."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ollamake.report.charts import GAP, LENGTHS, PLOTS, QUALITY, SCORES, TASKS, TRAIN_LOSS, VAL_LOSS, Plot, draw
from stages.report import main
from tests.contract.graph import read_yaml, stages
from tests.unit.reported import TEMPLATES, Compared, contest, params, standard, write, write_workspace

EVIL = (
    "<script>alert(1)</script>",
    "```\n</pre><img src=http://evil.example/x.png>",
    "![x](http://evil.example/y.png)",
    "[a](javascript:alert(2)) | b | <http://evil.example>",
    '" onload="alert(3)',
)
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(folder: Path) -> str:
    main(params())
    return (folder / "models/report.html").read_text()


def labels(html: str) -> list[str]:
    return [attributes["aria-label"] for tag, attributes in Reader(html).tags if tag == "svg"]


def test_every_chart_that_has_data_is_inside(here):
    write_workspace(here, standard(tasks=("files", "net")))
    shown = labels(page(here))
    assert shown == [PLOTS[path].title for path in (TRAIN_LOSS, VAL_LOSS, GAP, SCORES, LENGTHS, TASKS, QUALITY)]


def test_a_chart_without_data_is_left_out(here):
    write_workspace(here, standard(released=False))
    for path in (VAL_LOSS, GAP):  # one epoch: a line of one point
        write(here / path, "step\tvalue\n120\t1.8\n".replace("value", PLOTS[path].y))
    write(here / QUALITY, "quantization,size_mb,perplexity\nQ8_0,144.8,\n")  # rows of plain text: no reference answer
    main(params())
    shown = labels((here / "models/report.html").read_text())
    assert shown == [PLOTS[path].title for path in (TRAIN_LOSS, SCORES, LENGTHS)]


def test_the_bars_say_the_numbers_of_the_gate(here):
    write_workspace(here, standard())
    svg = draw(SCORES, TEMPLATES)
    bars = [line.rpartition(",")[2] for line in (here / SCORES).read_text().splitlines()[1:]]
    assert len(bars) == 24
    assert re.findall(r">(\d+\.\d %)<", svg) == bars


def test_each_model_has_a_colour_of_its_own(here):
    write_workspace(here, standard())
    bars = re.findall(r'aria-roledescription="bar"[^>]* fill="(#\w+)"', draw(SCORES, TEMPLATES))
    assert len(set(bars)) == 3


def test_nothing_is_fetched_or_run(here):
    write_workspace(here, standard())
    html = page(here)
    tags = Reader(html).tags
    assert len(tags) > 100
    assert {"script", "img", "link", "iframe", "object", "image", "use"} & {tag for tag, _ in tags} == set()
    targets = {value for _, found in tags for key, value in found.items() if key in {"src", "href", "xlink:href"}}
    assert targets == {f"#{number}" for number in range(1, 9)}
    assert {target for target in re.findall(r"url\(([^)]*)\)", html) if not target.startswith("#")} == set()
    assert set(re.findall(r"https?://[^\"'< ]+", html)) == NAMESPACES
    assert "@import" not in html


def test_hostile_texts_are_shown_and_do_nothing(here):
    evil = " ".join(" ".join(EVIL).split())
    found = contest(tasks=(evil, "net"), metric=evil)
    for number, row in enumerate(found.tuned.values()):
        row["prediction"] = EVIL[number % len(EVIL)]
    prepare = {"rows": 9, "kept": {"train": 9}, "duplicates": 0, "near_duplicates": {"dropped": 0}}
    prepare |= {"rejected": {evil: 3}, "sources": {evil: {"rows": 8, "kept": 8}, "b": {"rows": 1, "kept": 1}}}
    write_workspace(here, Compared.of(found), prepare={**prepare, "tasks": {evil: 9}})
    samples = here / "models/samples.md"  # an id of the user's own stands there unescaped
    write(samples, samples.read_text().replace(next(iter(found.tuned)), f"`{evil}[a]: http://evil.example", 1))
    main(params(system_prompt=evil, data_source=evil))
    read = Reader((here / "models/report.html").read_text())
    assert {"script", "img"} & {tag for tag, _ in read.tags} == set()
    assert [found for _, found in read.tags if "onload" in found] == []
    assert [value for _, found in read.tags if (value := found.get("href") or "#")[0] != "#"] == []
    assert read.text.count(evil) > 8  # in tables, lists, headings and charts
    for text in EVIL:
        assert read.text.count(text) > read.text.count(evil) * (text in evil)  # among the samples, too
    labelled = [found for tag, found in read.tags if tag == "div" and found.get("class") in {"prompt", "tuned"}]
    assert len(labelled) > 8  # no answer broke out of its place beside the others


def test_ids_are_told_once(here):
    write_workspace(here, standard(tasks=("files", "net")))
    ids = [found["id"] for _, found in Reader(page(here)).tags if "id" in found]
    assert len(ids) > 9
    assert len(ids) == len(set(ids))


def test_the_same_inputs_give_the_same_bytes(here):
    write_workspace(here, standard())
    first, markdown = page(here), (here / "models/report.md").read_bytes()
    assert page(here) == first
    assert (here / "models/report.md").read_bytes() == markdown


def test_the_definitions_of_the_charts_are_those_of_dvc_yaml():
    entries = [entry for stage in read_yaml("dvc.yaml")["stages"].values() for entry in stage.get("plots", [])]
    declared = {path: found for entry in entries for path, found in entry.items()}
    for path, plot in PLOTS.items():
        found = {key: value for key, value in declared[path].items() if key != "cache"}
        assert plot == Plot(**found), path


def test_the_stage_depends_on_the_data_and_the_template_of_every_chart():
    own = {f".dvc/plots/{plot.template}.json" for plot in PLOTS.values() if plot.template not in (None, "simple")}
    assert len(own) == 3
    assert {*PLOTS, *own} <= stages()["report"].deps
