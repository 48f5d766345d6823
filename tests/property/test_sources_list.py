"""Whatever a person writes into a list of sources or a recipe, it is read or refused, never a crash."""

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ollamake.collect import mixture, recipe
from ollamake.errors import DataError

KEYS = sorted(
    {*mixture.FilesSource.model_fields, *mixture.HubSource.model_fields, *recipe.Package.model_fields, "extra"}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a/b", "a.jsonl", "0a" * 20, "<hub>"])
)
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | SCALARS, inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([mixture, recipe]), st.sampled_from(["sources", "packages", "telling", "drop"]), CONTENT)
def test_any_yaml_is_read_or_refused_in_one_clear_error(grammar, key, content):
    stream = io.StringIO()
    YAML(typ="safe").dump({key: content}, stream)
    written = YAML(typ="rt").load(stream.getvalue())
    refusal = refused(grammar, written)
    if refusal:
        assert refusal.hint
        assert len(refusal.problem.splitlines()) > 1
        assert len(str(refusal)) < 20_000


def refused(grammar, content):
    try:
        grammar.parse(content, Path("sources.yaml"))
    except DataError as error:
        return error
    return None
