"""The page of `dvc plots` in a real browser: every plot is drawn, and nothing is asked of a network."""

import pytest

from ollamake.plots_page import write_plots_page
from tests.browsing import browse, needs_chromium
from tests.compared import compared_project, project
from tests.released import dvc

__all__ = ["compared_project", "project"]
CHART, POINT = r'class="marks"', r'aria-roledescription="point"'


@needs_chromium
def test_a_browser_draws_every_plot_with_points_and_asks_for_nothing(project, tmp_path):
    write_plots_page(project / ".dvc/plots/page.html")
    dvc("config", "plots.html_template", "plots/page.html")
    dvc("plots", "diff", "HEAD", "bolder", "--out", str(tmp_path / "shown"))
    seen = browse(tmp_path / "shown/index.html", tmp_path)
    assert seen.asked == []
    assert seen.count(CHART) == 3  # of the GPU there is no number, so there is no chart
    assert seen.count(r'<div id="plots_gpu_tsv"') == 0
    assert seen.count(POINT) == 3 + 4  # validations of both, one of them a single point; lengths, two of each
    assert seen.count(">Open in Vega Editor<") == 0


@needs_chromium
def test_what_a_page_asks_of_a_network_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<body><img src='http://127.0.0.1:1/x.png'></body>")
    assert browse(page, tmp_path).asked == ["http://127.0.0.1:1/x.png"]


def test_no_script_of_the_bundle_ends_the_script_element(tmp_path):
    page = tmp_path / "page.html"
    write_plots_page(page)
    text = page.read_text(encoding="utf-8")
    assert text.count("</script") == 1
    assert "{plot_divs}" in text
    assert "{scripts}" not in text
    with pytest.raises(ValueError, match="substring not found"):
        text.index("cdn.jsdelivr")
