"""The page that `dvc plots` fills: DVC's own one loads its scripts from a CDN and stays blank without a network."""

from pathlib import Path

from ollamake.files import atomic_write

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    {refresh_tag}
    <title>ollamake plots</title>
    <style>
        body { font-family: system-ui, sans-serif; margin: 2rem; color: #1d1d1f; background: #fff; }
        main { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
        table { border-collapse: collapse; }
        td, th { padding: 0.3rem 0.8rem; border-bottom: 1px solid #ddd; text-align: left; }
    </style>
    <script>VEGA</script>
</head>
<body>
    <h1>ollamake plots</h1>
    <main>{plot_divs}</main>
</body>
</html>
"""
# DVC calls vegaEmbed for each plot, with an empty spec for one without a number. A line of few points shows them: a run
# of one epoch has one validation, and a line through one point is nothing to see. Vega's editor needs a network.
EMBED = """
const FEW_POINTS = 100;
const actions = { export: true, source: false, compiled: false, editor: false };
window.vegaEmbed = (place, spec) => {
    if (!spec.data) return document.querySelector(place).remove();
    if (spec.mark?.type === "line" && spec.data.values.length <= FEW_POINTS) {
        spec.mark.point = true;
        spec.encoding.x.scale = { padding: 8 };
    }
    return vegaEmbed(place, spec, { actions });
};
"""
VEGA_LITE = "5.21"  # DVC's templates and ours are of version 5


def write_plots_page(path: Path) -> None:
    """Write the page with Vega, Vega-Lite and Vega-Embed inside, for `plots.html_template` in .dvc/config."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(snippet=EMBED, vl_version=VEGA_LITE)
    with atomic_write(path) as partial:
        # A closing tag inside a string of the bundle would end the script element.
        partial.write_text(PAGE.replace("VEGA", bundle.replace("</script", "<\\/script")), encoding="utf-8")
