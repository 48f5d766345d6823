import io

import pytest
from rich.console import Console

from ollamake.errors import OllamakeError
from ollamake.look.show import show_pack, show_row
from ollamake.tokens.tables import PACKS_SCHEMA
from tests.unit.looked_at import lay_out, write_arrow


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch, smollm2_tokenizer):
    lay_out(tmp_path, smollm2_tokenizer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def shown(show, *arguments, ids=False, **console):
    stream = io.StringIO()
    show(*arguments, Console(file=stream, highlight=False, **console), ids=ids)
    return stream.getvalue()


def test_without_colour_what_is_trained_stands_in_brackets():
    assert shown(show_row, "train", 1) == (
        "train row 1 of 3 · id first · task shell\n"
        "16 tokens, 4 trained (25.0%)\n"
        "\n"
        "<|im_start|>user⏎\n"
        "list files<|im_end|>⏎\n"
        "<|im_start|>assistant⏎\n"
        "⟦ls -l<|im_end|>⟧⏎\n"
        "\n"
        "⟦trained⟧, all else is only read; ⏎ is a line end\n"
    )


def test_characters_of_several_tokens_are_whole():
    assert "⟦朝の海😀⏎\n⇥       naïve<|im_end|>⟧" in shown(show_row, "train", 2)


def test_a_row_without_a_task_is_shown_without_one():
    assert "task" not in shown(show_row, "val", 2)


def test_the_rejected_answer_is_shown_below_the_chosen_one():
    text = shown(show_row, "test", "pair")
    assert text.startswith("test row 1 of 3 · id pair\n15 tokens, 4 trained (26.7%); 10 in the rejected answer\n\n")
    assert text.endswith(
        "<|im_start|>assistant⏎\n\n"
        "chosen: ⟦ls -l<|im_end|>⟧\n"
        "rejected: ⟦rm -rf /⏎\nsorry 😀<|im_end|>⟧\n\n"
        "⟦trained⟧, all else is only read; ⏎ is a line end\n"
    )


def test_on_a_terminal_the_answers_stand_side_by_side():
    lines = plain(shown(show_row, "test", "pair", force_terminal=True, no_color=True, width=60)).splitlines()
    head = next(line for line in lines if line.split() == ["chosen", "rejected"])
    answers = lines[lines.index(head) + 2]
    assert answers.index("⟦rm -rf") == head.index("rejected")
    assert answers.split() == ["⟦ls", "-l<|im_end|>⟧", "⟦rm", "-rf", "/⏎"]
    assert max(map(len, lines)) <= 60


def test_ids_lists_the_tokens_of_the_rejected_answer_from_where_the_chosen_one_begins():
    text = shown(show_row, "test", "pair", ids=True, width=80)
    tables = (
        [line.split() for line in part.splitlines()] for part in text.split("rejected, in the place of the answer")
    )
    positions = [[line[0] for line in lines if line and line[-1] == "yes"] for lines in tables]
    assert positions[0][0] == positions[1][0]
    assert len(positions[1]) == 10


def test_a_thumb_is_named():
    assert "id up · thumb up\n" in shown(show_row, "test", "up")
    assert "id down · thumb down\n" in shown(show_row, "test", "down")


def test_an_escape_sequence_in_the_data_does_not_reach_the_terminal():
    text = shown(show_row, "train", 3)
    assert "a ␛[2J trick" in text
    assert "\x1b" not in text


def test_on_a_terminal_trained_masked_and_control_tokens_have_styles_of_their_own():
    text = shown(show_row, "train", 1, force_terminal=True, color_system="standard", width=80)
    assert "\x1b[2mlist\x1b[0m" in text
    assert "\x1b[1;32mls\x1b[0m" in text
    assert "\x1b[1;35m<|im_end|>\x1b[0m" in text
    assert "\x1b[2;35m<|im_end|>\x1b[0m" in text
    assert "⟦" not in text


def test_a_terminal_without_colour_gets_the_brackets():
    assert "⟦ls -l<|im_end|>⟧" in plain(shown(show_row, "train", 1, force_terminal=True, no_color=True, width=80))


def plain(text):
    import re

    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_a_narrow_terminal_wraps_and_a_pipe_does_not():
    wrapped = plain(shown(show_row, "train", 1, force_terminal=True, width=30))
    assert max(map(len, wrapped.splitlines())) <= 30
    assert len(shown(show_row, "train", 1, width=30).splitlines()[0]) == 40


def test_ids_lists_every_token_with_its_position_and_whether_it_is_trained():
    lines = [line.split() for line in shown(show_row, "train", 2, ids=True, width=80).splitlines()]
    assert ["0", "1", "<|im_start|>", "no"] in lines
    assert ["2", "198", "⏎", "no"] in lines
    positions = [line[0] for line in lines if line and line[-1] in {"yes", "no"}]
    assert positions == [str(number) for number in range(len(positions))]
    assert len(positions) > 20


def test_ids_gives_each_token_of_a_character_the_character_and_its_part():
    lines = [line.split()[2:] for line in shown(show_row, "train", 2, ids=True, width=80).splitlines()]
    start = lines.index(["朝", "1/2", "yes"])
    assert lines[start + 1] == ["朝", "2/2", "yes"]
    assert ["·😀", "1/2", "no"] in lines


def test_a_row_is_found_by_its_id_in_any_batch():
    assert "val row 3 of 3 · id third" in shown(show_row, "val", "third")


def test_an_unknown_id_is_told():
    with pytest.raises(OllamakeError, match="train.arrow: no row has the id 'nix'\nhint: `grep -l 'nix'"):
        shown(show_row, "train", "nix")


def test_a_row_out_of_range_is_told_with_the_number_of_rows():
    with pytest.raises(OllamakeError, match="test.arrow: there is no row 4, it has 3 rows\nhint: take one from 1 to 3"):
        shown(show_row, "test", 4)


def test_a_packed_row_shows_all_its_conversations_in_their_order():
    text = shown(show_pack, 1)
    assert text.startswith("packed row 1 of 2: 2 conversations that do not see each other, 35 tokens\n")
    assert text.index("1/2 · train row 3 of 3 · id third") < text.index("2/2 · train row 1 of 3 · id first")
    assert text.count("is a line end") == 1


def test_a_packed_row_of_one_conversation_is_told_in_the_singular():
    assert shown(show_pack, 2).startswith("packed row 2 of 2: 1 conversation, ")


def test_a_packed_row_out_of_range_is_told_with_the_number_of_packed_rows():
    with pytest.raises(OllamakeError, match="packs.arrow: there is no row 3, it has 2 rows"):
        shown(show_pack, 3)


def test_without_packing_the_parameter_for_it_is_named(workspace):
    write_arrow(workspace / "data/tokenized/packs.arrow", [], PACKS_SCHEMA)
    with pytest.raises(OllamakeError, match="packing is off: .*\nhint: `packing: true` in params.yaml"):
        shown(show_pack, 1)


def test_without_tokens_the_command_that_makes_them_is_given(workspace):
    (workspace / "data/tokenized/train.arrow").unlink()
    with pytest.raises(OllamakeError, match="train.arrow: nothing is tokenized yet\nhint: `dvc repro tokenize`"):
        shown(show_row, "train", 1)


def test_a_broken_file_is_told_with_the_command_that_makes_it_anew(workspace):
    (workspace / "data/tokenized/train.arrow").write_bytes(b"ARROW1\0\0 cut off")
    with pytest.raises(OllamakeError, match="train.arrow: cannot be read: .*\nhint: `dvc repro --force"):
        shown(show_row, "train", 1)


def test_a_file_of_another_version_is_told_by_the_columns_that_it_lacks(workspace):
    write_arrow(workspace / "data/tokenized/train.arrow", [{"rows": [0]}], PACKS_SCHEMA)
    with pytest.raises(
        OllamakeError, match="train.arrow: is of another version: it has no id, task, .*\nhint: `dvc repro"
    ):
        shown(show_row, "train", 1)


def test_without_a_base_model_there_is_no_tokenizer_to_read_with(workspace):
    (workspace / "models/base.json").unlink()
    with pytest.raises(OllamakeError, match="models/base.json: no base model is pinned yet\nhint: `dvc repro fetch`"):
        shown(show_row, "train", 1)
