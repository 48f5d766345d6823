"""The page of a comparison: all in one file, nothing fetched or run, whatever the answers hold."""

import re
from html.parser import HTMLParser

import pytest

from ollamake.compare.document import Answer, Chart, Conversation, Document, Section
from ollamake.compare.page import OPEN_ANSWERS, page
from ollamake.compare.table import Cell, Line, Mark, Table
from tests.browsing import browse, needs_chromium
from tests.compared import compared_project
from tests.unit.test_compare import document

__all__ = ["compared_project"]
EVIL = "<script>alert(1)</script> <img src=http://evil.example/x.png> \" onload='alert(3)' {{ 7 * 7 }} \x1b[31m"


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def html(compared_project, monkeypatch):
    monkeypatch.chdir(compared_project)
    return page(document("HEAD", "bolder"))


def hostile():
    answers = [Answer(EVIL, EVIL, EVIL, mark, [(EVIL, True), (EVIL, False)]) for mark in (Mark.NONE, Mark.WORSE)]
    table = Table(["", EVIL], [Line(EVIL, [Cell(EVIL, Mark.BETTER)]), Line(EVIL, [Cell(EVIL)], differs=False)], EVIL)
    sections = [
        Section(EVIL, [table, table], [EVIL, f"! {EVIL}"], [Conversation(EVIL, EVIL, EVIL, answers)], same=EVIL),
        Section(EVIL, charts=[Chart(EVIL, "<svg/>")]),
    ]
    return Document(EVIL, [EVIL], [EVIL], sections)


def test_hostile_texts_are_shown_and_do_nothing():
    html = page(hostile())
    read = Reader(html)
    assert {"script", "iframe", "object", "link"} & {tag for tag, _ in read.tags} == set()
    assert [found for _, found in read.tags if "onload" in found] == []
    assert {found["src"][:26] for tag, found in read.tags if tag == "img"} == {"data:image/svg+xml;base64,"}
    assert read.text.count("{{ 7 * 7 }}") > 20
    assert "\x1b" not in html


def test_nothing_is_fetched(html):
    read = Reader(html)
    assert len(read.tags) > 200
    targets = {value for _, found in read.tags for key, value in found.items() if key in {"src", "href"}}
    assert {target for target in targets if not re.match(r"#\d+$|data:image/svg\+xml;base64,", target)} == set()
    assert re.findall(r"https?:|@import|url\(", html) == []
    assert "default-src 'none'" in html


def test_every_section_is_linked_and_there(html):
    read = Reader(html)
    links = [found["href"][1:] for tag, found in read.tags if tag == "a"]
    assert links == [found["id"] for tag, found in read.tags if tag == "section"]
    assert len(links) == 11


def test_the_answers_beyond_the_first_are_folded(html):
    before, _, after = html.partition("more, with smaller changes")
    assert before.count('<div class="answers">') == OPEN_ANSWERS
    assert after.count('<div class="answers">') > 10


@needs_chromium
def test_a_browser_shows_every_chart_and_asks_for_nothing(html, tmp_path):
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    seen = browse(tmp_path / "page.html", tmp_path)
    assert seen.asked == []
    assert seen.pictures == html.count("<figure>") == 2
