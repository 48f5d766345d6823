import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollamake.errors import ConversionError
from ollamake.ollama.modelfile import Modelfile, parse

CHATML = """{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
PARAMETERS = {"stop": ["<|im_end|>", "\n\n"], "num_ctx": 2048, "temperature": 0.0, "min_p": 1e-05}
# Printable in Go and in Python; Hypothesis' other categories are the ones that a Modelfile loses.
kept = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]) | st.sampled_from(' \n\t\r"'), max_size=60)


def modelfile(**changes: object) -> Modelfile:
    fields = {"gguf": "../gguf/m.gguf", "template": CHATML, "system": "Be brief.", "license": "mit"}
    return Modelfile(**{**fields, "parameters": PARAMETERS, **changes})


def test_the_file_is_what_a_person_would_write() -> None:
    assert modelfile().render() == (
        "FROM ../gguf/m.gguf\n"
        f'TEMPLATE """{CHATML}"""\n'
        'SYSTEM """Be brief."""\n'
        'LICENSE """mit"""\n'
        'PARAMETER stop "<|im_end|>"\n'
        'PARAMETER stop "\n\n"\n'
        "PARAMETER num_ctx 2048\n"
        "PARAMETER temperature 0.0\n"
        "PARAMETER min_p 1e-05\n"
    )


def test_an_empty_system_prompt_has_no_line() -> None:
    assert "SYSTEM" not in modelfile(system="").render()


@given(template=kept.filter(bool), system=kept, stops=st.lists(kept.filter(bool), max_size=3))
@example(template='"', system='""', stops=['"', '""', 'a"b', " ", "\n"])
@example(template="\n", system='"quoted"', stops=["'single'"])
@example(template="# no comment", system="FROM elsewhere\nPARAMETER stop x", stops=["\\n"])
def test_it_reads_back_as_written(template: str, system: str, stops: list[str]) -> None:
    written = modelfile(template=template, system=system, parameters={"stop": stops, "seed": 1})
    lines = re.split(r"[\r\n]", "\n".join([template, system, *stops]))
    if any(line.rstrip().endswith('"""') for line in lines):
        with pytest.raises(ConversionError, match='ends with """'):
            written.render()
    else:
        assert parse(written.render()) == written.commands()


@pytest.mark.parametrize("place", ["template", "system", "license"])
@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u00a0", "U+00A0 NO-BREAK SPACE"),
        ("\u200d", "U+200D ZERO WIDTH JOINER"),
        ("\u00ad", "U+00AD SOFT HYPHEN"),
        ("\u2028", "U+2028 LINE SEPARATOR"),
        ("\x1b", "U+001B (control)"),
    ],
)
def test_a_character_that_go_drops_is_refused(place: str, character: str, name: str) -> None:
    with pytest.raises(ConversionError) as failure:
        modelfile(**{place: f"a{character}b"}).render()
    assert failure.value.problem == f"{place.upper()} holds {name}, which Ollama drops from a Modelfile without a word"


def test_a_dropped_character_in_a_stop_is_refused() -> None:
    with pytest.raises(ConversionError, match="stop holds U\\+200B"):
        modelfile(parameters={"stop": ["\u200b"]}).render()


@pytest.mark.parametrize("text", ['a """\nb', 'a """', '"""', 'x"""  \ny', 'x"""\ry'])
def test_a_line_that_ends_with_three_quotes_is_refused(text: str) -> None:
    with pytest.raises(ConversionError, match='has a line that ends with """'):
        modelfile(system=text).render()


def test_three_quotes_inside_a_line_are_kept() -> None:
    assert ("system", 'say """hi""" twice') in parse(modelfile(system='say """hi""" twice').render())


def test_the_parser_reads_what_ollama_reads() -> None:
    text = (
        "\ufeff# a comment\n\n"
        "from ./a b.gguf # no comment here\n"
        '  Template "one line, \\n stays"\n'
        'SYSTEM """\n two\nlines\u00a0"""\n'
        'PARAMETER stop """"quoted""""\n'
        "parameter num_ctx\t  12  \n"
        "MESSAGE user hi\n"
        'LICENSE ""'
    )
    assert parse(text) == [
        ("from", "./a b.gguf # no comment here"),
        ("template", "one line, \\n stays"),
        ("system", "\n two\nlines"),
        ("stop", '"quoted"'),
        ("num_ctx", "12"),
        ("message", "user hi"),
        ("license", ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\nFORM b\n", "no command: 'FORM b'"),
        ("FROM\n", "no command: 'FROM'"),
        ('SYSTEM "never\nclosed\n', "never closes the quotes of '\"never'"),
        ('SYSTEM """never closed"', "never closes the quotes"),
    ],
)
def test_what_ollama_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConversionError) as failure:
        parse(text)
    assert message in failure.value.problem
