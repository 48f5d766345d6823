import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollamake.errors import ConversionError
from ollamake.ollama.modelfile import Modelfile, parse
from tests.standin import modelfile as ollama

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


# Pieces of Modelfiles, good and bad, for any order: words of the grammar, blanks, ends of lines, quotes, lost runes.
words = st.sampled_from(["FROM", "from", "System", "TEMPLATE", "PARAMETER", "parameter", "MESSAGE", "LICENSE", "FORM"])
parts = st.sampled_from([
    *(" ", "  ", "\t", "\n", "\r\n", "\r", '"', '""', '"""', '""""', "#", "a", "b c", "'", "\\n", "stop", "num_ctx"),
    *("user", "User", "\u00a0", "\u200d", "\u2028", "\x1b", "\ufeff", "é", "ADAPTER ./a"),
])  # fmt: skip
scraps = st.lists(words | parts, max_size=25).map("".join)
lines = st.tuples(words, st.sampled_from([" ", "\t", "  "]), scraps, st.sampled_from(["\n", "\r\n", ""])).map("".join)


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
        assert ollama.commands(written.render().encode()) == written.commands()


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]) | st.sampled_from(" '"), min_size=1))
@example("-model F16.gguf")
@example(" # no comment.gguf")
def test_the_file_of_the_gguf_is_named_as_it_is(name: str) -> None:
    written = modelfile(gguf=f"../gguf/{name}.gguf").render()
    assert ollama.request(written.encode())["from"] == [f"../gguf/{name}.gguf"]


@given(kept.filter(bool), kept, st.lists(kept.filter(bool), min_size=1, max_size=3))
def test_ollama_is_never_told_of_an_adapter_or_of_other_weights(template: str, system: str, stops: list[str]) -> None:
    words = ["ADAPTER ./adapter\n", "FROM ./model.safetensors\n"]
    try:
        text = modelfile(template=words[0] + template, system=words[1] + system, parameters={"stop": stops}).render()
    except ConversionError:
        return
    read = ollama.request(text.encode())
    assert set(read) == {"from", "template", "system", "license", "parameters"}
    assert read["from"] == ["../gguf/m.gguf"]


@given(st.lists(lines, max_size=6).map("".join))
@example('FROM a\nMESSAGE user """one\ntwo"""\nMESSAGE assistant three')
@example('FROM a\nSYSTEM """"quoted""""\nPARAMETER stop "\n"')
@example("FROM\u00a0a\n")
@example("FR\u200dOM a\n")
@example("\u00a0\nFROM a")
def test_both_readers_of_modelfiles_read_the_same(text: str) -> None:
    """Ours, line by line, and the stand-in's, character by character, which was written from Ollama's source alone."""
    try:
        expected = ollama.commands(text.encode())
    except ollama.ModelfileError:
        with pytest.raises(ConversionError):
            parse(text)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_that_ollama_takes_is_the_same_file(encoding: str) -> None:
    assert ollama.commands(modelfile().render().encode(encoding)) == modelfile().commands()


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
        ("message", "user: hi"),
        ("license", ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\nFORM b\n", "no command: 'FORM b'"),
        ("FROM\n", "no command: 'FROM'"),
        ('SYSTEM "never\nclosed\n', "never closes the quotes of '\"never'"),
        ('SYSTEM """never closed"', "never closes the quotes"),
        ("FROM a\nMESSAGE User hi", "no command: 'MESSAGE User hi'"),
        ("FROM a\nPARAMETER  stop x", "no command: 'PARAMETER  stop x'"),
        ("FROM a\nFR\u200dOM b", "no command"),
        ("SYSTEM hi", "has no FROM line"),
        ("", "has no FROM line"),
    ],
)
def test_what_ollama_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConversionError) as failure:
        parse(text)
    assert message in failure.value.problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SYSTEM hi", "no FROM line"),
        ("FROM a\nFORM b", '(line 2): command must be one of "from", "license", "template"'),
        ("FROM a\nMESSAGE tool hi", '(line 2): message role must be one of "system", "user", or "assistant"'),
        ("FROM a\nPARAMETER colour red", "unknown parameter 'colour'"),
        ("FROM a\nPARAMETER num_ctx many", "invalid int value [many]"),
        ("FROM a\nPARAMETER top_p much", "invalid float value [much]"),
        ("FROM a\nREQUIRES soon", "requires must be a valid semver (e.g. 0.14.0)"),
        ('FROM a\nSYSTEM "open', "unexpected EOF"),
    ],
)
def test_the_other_reader_refuses_what_ollama_refuses(text: str, said: str) -> None:
    with pytest.raises(ollama.ModelfileError) as failure:
        ollama.request(text.encode())
    assert said in str(failure.value)
