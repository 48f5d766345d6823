"""Judged answers, from the row of a file to the tokens: chosen and rejected, or a thumb."""

from dataclasses import replace

import pytest

from ollamake import params
from ollamake.chat import ChatTemplate
from ollamake.data.findings import Rejected
from ollamake.data.preferences import thumb_of
from ollamake.data.records import read_record
from ollamake.data.report import report
from ollamake.data.split import content_hash
from ollamake.errors import DataError
from ollamake.files import read_json
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.judged import JudgedEncoder
from ollamake.tokens.row import Row
from ollamake.tokens.vocabulary import Vocabulary
from ollamake.tokens.whole import WholeEncoder
from stages import tokenize as tokenize_stage
from tests.property.dealt import deal
from tests.unit.test_encode import SHIPPED
from tests.unit.tokenizing import SETTINGS, read, row, run

END = 2  # <|im_end|> of SmolLM2
ASK = {"role": "user", "content": "ask"}
SAY = {"role": "assistant", "content": "say"}
WORSE = {"role": "assistant", "content": "mumble"}
BRIEF = {"role": "system", "content": "be brief"}
GREETING = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
SAID = {"from": "gpt", "value": "say"}
MUMBLED = {"from": "gpt", "value": "mumble"}
PAIR = {"prompt": "ask", "chosen": "say", "rejected": "mumble"}
THUMB = {"prompt": "ask", "completion": "say"}


@pytest.mark.parametrize(
    "given",
    [
        PAIR,
        {"prompt": [ASK], "chosen": [SAY], "rejected": [WORSE]},
        {"prompt": [ASK], "chosen": "say", "rejected": WORSE},
        {"prompt": "ask", "chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
        {"chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
        {"chosen": [ASK, SAY], "rejected": "mumble"},
        {"chosen": [ASK, SAY], "rejected": [ASK, WORSE], "messages": [ASK, SAY], "score_chosen": 8.5},
        {"instruction": "ask", "input": "", "chosen": "say", "rejected": "mumble"},
        {"question": "ask", "chosen": "say", "rejected": "mumble", "system": None},
        {"conversations": [{"from": "human", "value": "ask"}], "chosen": SAID, "rejected": MUMBLED},
        {"messages": [ASK], "chosen": SAY, "rejected": WORSE},
        {"messages": [ASK, SAY], "rejected": "mumble"},
        {"instruction": "ask", "output": "say", "rejected": "mumble"},
        {"prompt": "ask", "completion": "say", "rejected": [WORSE], "chosen": None},
        {"prompt": "ask", "chosen": " say", "rejected": "mumble\n"},
    ],
)
def test_each_form_of_a_pair_of_answers_is_recognized_by_its_fields(given):
    record = read_record(given, "auto")
    assert (record.content, record.preference) == ([ASK, SAY], {"rejected": "mumble"})
    assert read_record(given, "preference")[:2] == record[:2]


def test_a_pair_may_have_a_system_message_an_input_and_earlier_turns():
    given = {"system": "be brief", "instruction": "sum up", "input": "a text", "chosen": "say", "rejected": "mumble"}
    assert read_record(given, "auto").content == [BRIEF, {"role": "user", "content": "sum up\n\na text"}, SAY]
    given = {"chosen": [BRIEF, *GREETING, ASK, SAY], "rejected": [BRIEF, *GREETING, ASK, WORSE]}
    record = read_record(given, "auto")
    assert (record.content, record.preference) == ([BRIEF, *GREETING, ASK, SAY], {"rejected": "mumble"})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"prompt": "ask", "chosen": "say"}, "rejected is missing"),
        ({"prompt": "ask", "rejected": "say"}, "chosen is missing"),
        ({"rejected": [ASK, SAY]}, "chosen is missing"),
        ({**PAIR, "rejected": "say"}, "the rejected answer is the chosen one"),
        ({**PAIR, "rejected": " say\n"}, "the rejected answer is the chosen one"),
        ({**PAIR, "rejected": None}, "rejected is not text"),
        ({**PAIR, "rejected": 3}, "rejected is not text"),
        ({**PAIR, "chosen": ["say"]}, "a message without role and content"),
        ({**PAIR, "rejected": ""}, "an empty assistant message in the rejected answer"),
        ({**PAIR, "chosen": " "}, "an empty assistant message"),
        ({**PAIR, "rejected": []}, "rejected is not a list with something in it"),
        ({**PAIR, "rejected": [ASK]}, "rejected is not by the assistant"),
        ({**PAIR, "chosen": [SAY, ASK]}, "chosen is not by the assistant"),
        ({**PAIR, "rejected": [{"role": "bot", "content": "mumble"}]}, "a message of unknown role"),
        ({**PAIR, "rejected": "mum\0ble"}, "a NUL character"),
        ({**PAIR, "rejected": "\ud800"}, "half of a surrogate pair"),
        ({**PAIR, "prompt": [ASK, SAY]}, "messages that do not alternate from user to assistant"),
        ({**PAIR, "prompt": ""}, "an empty user message"),
        ({**PAIR, "chosen": [*GREETING[:1], SAY]}, "chosen answers another prompt"),
        ({"chosen": [ASK, SAY], "rejected": [*GREETING[:1], WORSE]}, "rejected answers another prompt"),
        ({"chosen": [ASK, SAY], "rejected": [BRIEF, ASK, WORSE]}, "rejected answers another prompt"),
        ({"chosen": [*GREETING, ASK, SAY], "rejected": [ASK, WORSE]}, "rejected answers another prompt"),
        ({"chosen": [ASK, SAY], "rejected": [ASK, WORSE, ASK, WORSE]}, "rejected answers another prompt"),
        ({"chosen": "say", "rejected": "mumble"}, "chosen is text, and there is no prompt"),
        ({**THUMB, "thumb": "sideways"}, "a thumb that is neither up nor down"),
        ({**THUMB, "thumbs": 2}, "a thumb that is neither up nor down"),
        ({**THUMB, "desirable": "up?"}, "a thumb that is neither up nor down"),
    ],
)
def test_a_bad_judgement_is_rejected_with_its_reason(given, reason):
    with pytest.raises(Rejected) as rejected:
        read_record(given, "auto")
    assert rejected.value.reason == reason


@pytest.mark.parametrize("up", [True, 1, 1.0, "up", "Up ", "true", "True", "1", "👍", "👍🏽", "👍\ufe0f"])
@pytest.mark.parametrize("down", [False, 0, 0.0, "down", "DOWN", "false", "0", "👎", "👎🏿"])
def test_a_thumb_is_read_in_many_spellings(up, down):
    assert (thumb_of(up), thumb_of(down)) == (True, False)


@pytest.mark.parametrize("value", [None, 2, -1, 0.5, float("nan"), 10**400, "", "good", [True], {"up": 1}])
def test_what_is_no_thumb_is_none(value):
    assert thumb_of(value) is None


@pytest.mark.parametrize(
    "given",
    [
        THUMB,
        {"prompt": [ASK], "completion": [SAY]},
        {"prompt": "ask", "completion": [ASK, SAY]},
        {"messages": [ASK, SAY]},
        {"conversations": [ASK, SAY]},
        {"instruction": "ask", "output": "say"},
        {"instruction": "ask", "response": "say"},
    ],
)
@pytest.mark.parametrize("field", ["label", "thumb", "thumbs", "desirable"])
def test_each_shape_may_have_a_thumb(given, field):
    record = read_record({**given, field: "down"}, "auto")
    assert (record.content, record.preference) == ([ASK, SAY], {"desirable": False})
    assert read_record({**given, field: True}, "thumbs").preference == {"desirable": True}


def test_a_label_that_is_no_thumb_is_left_alone_unless_thumbs_are_asked_for():
    given = {**THUMB, "label": "chemistry"}
    record = read_record(given, "auto")
    assert (record.content, record.preference, record.ignored) == ([ASK, SAY], {}, ["label"])
    with pytest.raises(Rejected, match="a thumb that is neither up nor down"):
        read_record(given, "thumbs")


def test_a_shape_that_is_asked_for_reads_no_judgement_beside_it():
    assert read_record({"messages": [ASK, SAY], "rejected": "mumble", "label": 1}, "messages").preference == {}
    assert read_record({**THUMB, "thumb": "up"}, "prompt").preference == {}


@pytest.mark.parametrize(
    ("shape", "given", "reason"),
    [
        ("preference", THUMB, "rejected is missing"),
        ("preference", {"text": "a"}, "rejected is missing"),
        ("preference", {"prompt": "a"}, "chosen and rejected are missing"),
        ("thumbs", THUMB, "thumb is missing"),
        ("thumbs", PAIR, "completion and thumb are missing"),
    ],
)
def test_a_row_without_the_judgement_that_is_asked_for_is_rejected(shape, given, reason):
    with pytest.raises(Rejected) as rejected:
        read_record(given, shape)
    assert rejected.value.reason == reason
    assert rejected.value.detail.startswith(f"the shape is to be {shape}; ")


@pytest.mark.parametrize(
    "given",
    [
        {"instruction": "ask", "output": None, "response": "say"},
        {"messages": None, "prompt": "ask", "completion": "say"},
        {"messages": [ASK, SAY], "chosen": None, "rejected": None, "label": None, "thumbs": None, "weight": None},
    ],
)
def test_a_null_is_a_field_that_the_row_does_not_have(given):
    """As in Parquet: whoever writes rows of several kinds to one file fills up the columns with it."""
    assert read_record(given, "auto")[:2] == ([ASK, SAY], {})


@pytest.mark.parametrize("given", [{"instruction": "ask", "output": None}, {"instruction": None, "output": "say"}])
def test_a_null_that_a_row_cannot_do_without_is_still_named(given):
    with pytest.raises(Rejected, match="is not text"):
        read_record(given, "auto")


def test_unused_fields_within_the_answers_are_named():
    given = {"chosen": [ASK, {**SAY, "score": 3}], "rejected": [ASK, {**WORSE, "model": "x"}], "source": "eg"}
    assert read_record(given, "auto").ignored == ["chosen[].score", "rejected[].model"]


def test_a_repair_of_the_rejected_answer_is_counted():
    assert read_record({**PAIR, "rejected": "cafe\u0301"}, "auto").repairs == {"Unicode form (NFC)"}


def test_what_is_thought_of_an_answer_makes_another_row():
    thoughts = [{}, {"rejected": "a"}, {"rejected": "b"}, {"desirable": True}, {"desirable": False}]
    assert len({content_hash([ASK, SAY], thought) for thought in thoughts}) == 5


def test_equal_judgements_are_duplicates_and_all_about_one_prompt_lie_in_one_split():
    rows = [PAIR, {**PAIR, "prompt": " Ask"}, {**PAIR, "rejected": "shout"}, {**PAIR, "chosen": "speak"}, THUMB]
    rows += [{**THUMB, "label": label} for label in (True, "up", False)]
    tally, splits = deal(rows)
    assert tally.left_out.counts.total() == 2
    assert sorted(len(found) for found in splits.values()) == [0, 0, 0, 6]
    assert tally.metrics()["judged"] == {"chosen and rejected": 4, "thumb down": 1, "thumb up": 2}
    assert "| chosen and rejected | 4 |\n| thumb down | 1 |\n| thumb up | 2 |" in report(tally)


def test_a_near_duplicate_is_dropped_only_with_the_same_answers():
    words = " ".join(f"word{number}" for number in range(60))
    pairs = [("a", "no"), ("b", "no"), ("c", "never")]
    tally, _ = deal([{"prompt": f"{words} {end}", "chosen": "yes", "rejected": no} for end, no in pairs], near=0.8)
    assert tally.metrics()["near_duplicates"] == {"groups": 1, "rows": 2, "largest": 2, "dropped": 1}


def test_a_record_has_the_judgement_behind_the_messages():
    _, splits = deal([{**PAIR, "task": "a"}, {**THUMB, "label": 0}])
    found = sorted((one for some in splits.values() for one in some), key=lambda one: "rejected" in one)
    assert [list(one) for one in found] == [["id", "messages", "desirable"], ["id", "messages", "rejected", "task"]]
    assert (found[0]["desirable"], found[1]["rejected"]) == (False, "mumble")


def test_rows_in_the_order_of_their_length_count_both_answers():
    rows = [{**PAIR, "prompt": f"ask {n}", "rejected": "x" * (300 - n)} for n in range(50)]
    _, splits = deal(rows, order="length")
    assert len(splits["train"]) > 10
    assert [len(one["rejected"]) for one in splits["train"]] == sorted(len(one["rejected"]) for one in splits["train"])


def test_rows_without_a_judgement_are_what_they_were():
    tally, splits = deal([THUMB, {"text": "a"}])
    assert "judged" not in tally.metrics()
    assert sorted(list(one) for some in splits.values() for one in some) == [["id", "messages"], ["id", "text"]]


# --- tokens ---


def pair(number, chosen="ls -l", rejected="rm -rf /", **fields):
    asked = {"role": "user", "content": f"list files {number}"}
    messages = [asked, {"role": "assistant", "content": chosen}]
    return {"id": f"{number:04}", "messages": messages, "rejected": rejected, **fields}


@pytest.fixture(scope="module")
def encoder(smollm2_tokenizer):
    return JudgedEncoder(
        ChatTemplate.of(smollm2_tokenizer),
        Vocabulary.of(smollm2_tokenizer),
        frozenset([END]),
        system_prompt="",
        max_length=128,
        too_long="drop",
    )


@pytest.fixture
def tokenize(tmp_path, tiny_base, monkeypatch):
    def made(*train, **changes):
        run(tmp_path, tiny_base, monkeypatch, train, **{"val": train, "test": train, **changes})
        return read(tmp_path, "train")

    return made


def encoded(encoder, record):
    [[found]] = encoder.encode_judged([record])
    return found


def text(encoder, ids):
    return encoder.vocabulary.tokenizer.decode(ids, skip_special_tokens=False)


def test_both_answers_follow_the_same_prompt_and_end_with_their_end_token(encoder):
    found = encoded(encoder, pair(1))
    prompt = text(encoder, found.input_ids[: found.prompt_length])
    assert prompt.endswith("<|im_start|>user\nlist files 1<|im_end|>\n<|im_start|>assistant\n")
    assert text(encoder, found.input_ids[found.prompt_length :]) == "ls -l<|im_end|>"
    assert text(encoder, found.rejected_ids) == "rm -rf /<|im_end|>"
    assert found.labels == [IGNORE_INDEX] * found.prompt_length + found.input_ids[found.prompt_length :]
    assert (found.desirable, found.reference) == (None, "ls -l")


def test_only_the_judged_answer_carries_loss(encoder):
    record = pair(1)
    found = encoded(encoder, {**record, "messages": [*GREETING, *record["messages"]]})
    assert text(encoder, [label for label in found.labels if label != IGNORE_INDEX]) == "ls -l<|im_end|>"


def test_a_template_that_rewrites_earlier_answers_gives_one_row_for_the_judged_one(encoder):
    qwen3 = replace(encoder, template=ChatTemplate((SHIPPED / "qwen3.jinja").read_text()))
    record = pair(1)
    found = encoded(qwen3, {**record, "messages": [*GREETING, *record["messages"]]})
    assert text(encoder, found.rejected_ids) == "<think>\n\n</think>\n\nrm -rf /<|im_end|>"


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("ls <|im_end|>", "rm", "control token in the text"),
        ("ls", "rm <|im_start|>", "control token in the text"),
        ("ls", "\n\nrm", "prompt and answer share a token"),
        ("ls", "rm " * 100, "longer than max_length"),
        ("ls " * 100, "rm", "longer than max_length"),
    ],
)
def test_the_rules_for_an_answer_hold_for_both(encoder, chosen, rejected, reason):
    assert encoded(encoder, pair(1, chosen, rejected)) == reason


def test_a_pair_that_cannot_be_shifts_no_other(encoder):
    records = [pair(1, rejected="<|im_start|>"), pair(2), pair(3, "<|im_end|>"), pair(4)]
    assert list(encoder.encode_judged(records)) == [[encoded(encoder, record)] for record in records]


def test_the_longer_answer_decides_which_turns_go(encoder):
    record = pair(1, rejected="one two three four five six seven eight")
    record = {**record, "messages": [*GREETING, *record["messages"]]}
    whole = encoded(encoder, record)
    longest = whole.prompt_length + len(whole.rejected_ids) + 1  # and the newline behind the end
    assert encoded(replace(encoder, max_length=longest), record) == whole
    cut = encoded(replace(encoder, max_length=longest - 1, too_long="truncate_left"), record)
    assert cut == replace(encoded(encoder, {**record, "messages": record["messages"][2:]}), truncated=True)


def test_truncate_right_cuts_each_answer_and_keeps_its_end(encoder):
    record = pair(1, rejected="one two three four five six seven eight")
    whole = encoded(encoder, record)
    cut = encoded(replace(encoder, max_length=whole.prompt_length + 5, too_long="truncate_right"), record)
    assert text(encoder, cut.rejected_ids) == "one two three four<|im_end|>"
    assert (cut.input_ids, cut.truncated) == (whole.input_ids, True)


def test_answers_that_differ_only_in_what_is_cut_are_left_out(encoder):
    record = pair(1, "one two three four", "one two three five")
    room = encoded(encoder, record).prompt_length + 4
    cut = replace(encoder, max_length=room, too_long="truncate_right")
    assert encoded(cut, record) == "chosen and rejected come to the same tokens"


@pytest.mark.parametrize("answer", ["朝の海は静かだ", "👩‍👩‍👧‍👦👩🏽‍🚀", "é朝\ufffd朝"])
def test_a_cut_answer_ends_with_a_whole_character(encoder, answer):
    record = {"id": "a", "messages": [ASK, {"role": "assistant", "content": answer}], "desirable": True}
    whole = encoded(encoder, record)
    answers = set()
    for room in range(2, len(whole.input_ids) - whole.prompt_length):
        cut = encoded(replace(encoder, max_length=whole.prompt_length + room, too_long="truncate_right"), record)
        if isinstance(cut, Row):
            assert cut.input_ids[-1] == END
            answers.add(text(encoder, cut.input_ids[cut.prompt_length : -1]))
        else:
            assert cut == "prompt longer than max_length"
    assert answers <= {answer[:end] for end in range(1, len(answer) + 1)}
    assert len(answers) > 1


def test_the_columns_hold_pairs_for_dpo_and_thumbs_for_kto(tokenize):
    [found] = tokenize(pair(1), task="dpo")
    assert found["rejected_ids"][-1] == END
    assert found["desirable"] is None
    up, down = tokenize(row(1, desirable=True), row(2, desirable=False), task="kto")
    assert (up["desirable"], down["desirable"]) == (True, False)
    assert (up["rejected_ids"], up["input_ids"][-1]) == (None, END)


def test_sft_learns_the_chosen_answer_and_leaves_thumbs_down_out(tokenize, tmp_path):
    down = [row(number, desirable=False) for number in range(2, 9)]
    found = tokenize(pair(1), *down, row(9, desirable=True), task="sft", max_rejected_fraction=0.0)
    assert [one["id"] for one in found] == ["0001", "0009"]
    assert {one["rejected_ids"] for one in found} == {one["desirable"] for one in found} == {None}
    assert read_json(tmp_path / "metrics/tokenize.json")["train"]["dropped"] == {"an answer with a thumb down": 7}


def test_judged_tokens_and_thumbs_are_counted(tokenize, tmp_path):
    [found] = tokenize(pair(1), task="dpo")
    counts = read_json(tmp_path / "metrics/tokenize.json")["train"]
    assert counts["rejected_tokens"] == len(found["rejected_ids"])
    tokenize(row(1, desirable=True), row(2, desirable=False), row(3, desirable=False), task="kto")
    counts = read_json(tmp_path / "metrics/tokenize.json")["train"]
    assert (counts["thumbs_up"], counts["thumbs_down"]) == (1, 2)
    tokenize(row(1), task="sft")
    counts = read_json(tmp_path / "metrics/tokenize.json")["train"]
    assert not {"rejected_tokens", "thumbs_up", "thumbs_down"} & counts.keys()


@pytest.mark.parametrize(
    ("task", "record", "reason", "suited"),
    [
        ("dpo", row(1), "no rejected answer", "sft"),
        ("dpo", row(1, desirable=True), "a thumb, but no rejected answer", "kto"),
        ("dpo", {"id": "t", "text": "once"}, "a text, which answers nothing", "pretrain"),
        ("kto", row(1), "no thumb", "sft"),
        ("kto", pair(1), "a rejected answer, but no thumb", "dpo"),
        ("kto", {"id": "t", "text": "once"}, "a text, which answers nothing", "pretrain"),
        ("sft", row(1, desirable=False), "an answer with a thumb down", "kto"),
        ("pretrain", row(1, desirable=False), "an answer with a thumb down", "kto"),
    ],
)
def test_records_of_another_task_are_counted_and_the_error_says_which_would_suit_them(
    tokenize, task, record, reason, suited
):
    with pytest.raises(DataError, match=f"train: 0 of 1 rows, 1 × {reason}") as raised:
        tokenize(record, task=task)
    assert raised.value.hint.startswith(f"`task: {suited}`")


def test_records_of_another_task_may_be_few(tokenize, tmp_path):
    assert len(tokenize(pair(1), row(2), task="dpo", max_rejected_fraction=0.5)) == 1
    assert read_json(tmp_path / "metrics/tokenize.json")["train"]["dropped"] == {"no rejected answer": 1}
    with pytest.raises(DataError, match="max_rejected_fraction allows 40.0%"):
        tokenize(pair(1), row(2), task="dpo", max_rejected_fraction=0.4)


@pytest.mark.parametrize("task", ["dpo", "kto"])
def test_judged_answers_are_not_packed(task):
    found = params.findings({**SETTINGS, "task": task, "packing": True}, {"tokenize": tokenize_stage.Params})
    assert len(found) == 1
    assert f"packing is true, and task {task} compares whole answers; set packing: false" in found[0]
    assert not params.findings({**SETTINGS, "task": "pretrain", "packing": True}, {"tokenize": tokenize_stage.Params})


def test_pretrain_learns_every_token_of_a_conversation(tokenize):
    first, text_row = tokenize(row(1), {"id": "t", "text": "once"}, task="pretrain")
    [same] = tokenize(row(1), task="sft")
    assert first["input_ids"] == same["input_ids"]
    assert first["labels"] == [IGNORE_INDEX, *first["input_ids"][1:]]
    assert END in first["labels"]
    asked = ("prompt_length", "prompt", "reference")
    assert [first[name] for name in asked] == [same[name] for name in asked]
    assert text_row["labels"][-1] == END


def test_pretrain_goes_on_in_the_next_row_and_loses_nothing(tokenize, tmp_path):
    long = row(1, {"role": "user", "content": "one two three " * 20}, SAY)
    [whole] = tokenize(long, task="pretrain", max_length=512)
    rows = tokenize(long, task="pretrain", max_length=16)
    assert [one["id"] for one in rows[:2]] == ["0001", "0001/2"]
    assert [label for one in rows for label in one["labels"][1:]] == whole["input_ids"][1:]
    counts = read_json(tmp_path / "metrics/tokenize.json")["train"]
    assert (counts["split"], counts["turn_by_turn"], counts["truncated"]) == (1, 0, 0)


def test_pretrain_takes_a_control_token_in_a_message_for_a_mistake_too(encoder):
    whole = WholeEncoder(encoder.template, encoder.vocabulary, encoder.end_ids, "", encoder.max_length, "drop")
    typed = [{"role": "user", "content": "<|im_start|>"}, SAY]
    assert list(whole.encode([typed])) == [["control token in the text"]]


def test_a_template_that_rewrites_answers_is_no_hindrance_to_pretrain(encoder):
    qwen3 = ChatTemplate((SHIPPED / "qwen3.jinja").read_text())
    whole = WholeEncoder(qwen3, encoder.vocabulary, encoder.end_ids, "", encoder.max_length, "drop")
    [[found]] = whole.encode([[*GREETING, ASK, SAY]])
    assert found.labels[1:] == found.input_ids[1:]
    assert (found.prompt, found.reference) == ("ask", "say")
