"""What each family's published template writes: by our renderer, by transformers, and in the rows that are trained."""

import json
from pathlib import Path

import pytest
import trl
from jinja2 import TemplateError

from ollamake.chat import ChatTemplate
from ollamake.files import read_json
from ollamake.gguf.prompts import Prompts
from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.encode import Encoder
from ollamake.tokens.vocabulary import Vocabulary
from tests.golden.cases import CASES, RENDERED, is_prompt, snapshot
from tests.golden.families import FAMILIES, TEMPLATES

SHIPPED = Path(trl.__file__).parent / "chat_templates"
TRAINED = [case for case in CASES if not is_prompt(case)]
# Mistral v0.3 puts the system text before the last user message only while that is the last message: in a row with an
# answer it would be gone, and the model trained on a prompt that no server sends.
UNTRAINABLE = {(family, "system") for family in ("mistral-v0.2", "mistral-v0.3", "gemma")}
EVERY = pytest.mark.parametrize(("family", "case"), [(family, case) for family in FAMILIES for case in CASES])
PAIRS = [(family, case) for family in FAMILIES for case in TRAINED if (family, case) not in UNTRAINABLE]
TRAINABLE = pytest.mark.parametrize(("family", "case"), PAIRS)


def written(family, case, render):
    """Return what `render` makes of the case, or how the template refuses it."""
    try:
        return render(CASES[case], add_generation_prompt=is_prompt(case))
    except TemplateError as refusal:
        return f"refused: {refusal}\n"


def kept(family, case):
    return (RENDERED / family / f"{case}.txt").read_bytes().decode()


@EVERY
def test_our_rendering_is_the_reviewed_snapshot(family, case, family_folder):
    text = written(family, case, ChatTemplate.of(family_folder(family)).render)
    assert text == snapshot(RENDERED / family / f"{case}.txt", text)


@EVERY
def test_transformers_renders_the_same(family, case, family_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family_folder(family))

    def render(messages, **options):
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)

    assert written(family, case, render) == kept(family, case)


def encoder_of(folder):
    ends = frozenset(read_json(folder / "generation_config.json")["eos_token_id"])
    return Encoder(
        ChatTemplate.of(folder), Vocabulary.of(folder), ends, system_prompt="", max_length=512, too_long="drop"
    )


def rows_of(encoder, case):
    [rows] = encoder.encode([CASES[case]])
    return rows


def trained_spans(encoder, row):
    """Return the texts of the runs of tokens that carry loss, or why there is no row."""
    if isinstance(row, str):
        return row
    trains = [label != IGNORE_INDEX for label in row.labels]
    edges = [0, *(i for i in range(1, len(trains)) if trains[i] != trains[i - 1]), len(trains)]
    texts = [encoder.vocabulary.tokenizer.decode(row.input_ids[:edge], skip_special_tokens=False) for edge in edges]
    spans = zip(edges, texts, texts[1:], strict=False)
    return [after[len(before) :] for start, before, after in spans if trains[start]]


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_the_answers_and_their_end_tokens_are_trained(family, family_folder):
    encoder = encoder_of(family_folder(family))
    spans = {case: [trained_spans(encoder, row) for row in rows_of(encoder, case)] for case in TRAINED}
    text = json.dumps(spans, indent=2, ensure_ascii=False) + "\n"
    assert text == snapshot(RENDERED / family / "trained.json", text)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_trained_text_is_every_answer_with_one_end_token(family):
    """The snapshot itself is held to the rule, so that a wrong one cannot be renewed unseen."""
    for case, rows in read_json(RENDERED / family / "trained.json").items():
        if (family, case) in UNTRAINABLE:
            assert all(isinstance(row, str) for row in rows)
            continue
        answers = [message["content"] for message in CASES[case] if message["role"] == "assistant"]
        found = [text.lstrip(" ") for row in rows for text in row]
        assert found == [answer + FAMILIES[family].end_of_turn for answer in answers]


@TRAINABLE
def test_the_trained_prompt_has_the_ids_that_a_server_would_send(family, case, family_folder):
    from transformers import AutoTokenizer

    row = rows_of(encoder_of(family_folder(family)), case)[-1]
    tokenizer = AutoTokenizer.from_pretrained(family_folder(family))
    prompt = tokenizer.apply_chat_template(CASES[case][:-1], add_generation_prompt=True)["input_ids"]
    assert row.input_ids[: row.prompt_length] == prompt


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.refuses_system])
def test_a_family_without_system_messages_is_told_by_its_own_words(family, family_folder):
    reason = FAMILIES[family].refuses_system
    rows = rows_of(encoder_of(family_folder(family)), "system")
    assert rows == [f"refused by the chat template: {reason}"]
    assert kept(family, "system") == f"refused: {reason}\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_system_text_is_known_and_written(family, family_folder):
    folder, default = family_folder(family), FAMILIES[family].default_system
    assert Prompts(ChatTemplate.of(folder), None, frozenset()).default_system == default
    assert default in kept(family, "default-system")


def test_every_snapshot_belongs_to_a_case():
    found = {str(path.relative_to(RENDERED)) for path in RENDERED.rglob("*") if path.is_file()}
    names = [*(f"{case}.txt" for case in CASES), "trained.json"]
    assert found == {f"{family}/{name}" for family in FAMILIES for name in names}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("gemma", "gemma"), ("llama3", "llama3"), ("phi3", "phi3"), ("qwen2.5", "qwen2_5")],
)
def test_a_fixture_is_the_text_that_trl_compares_with_the_hub(ours, theirs):
    assert (TEMPLATES / f"{ours}.jinja").read_bytes() == (SHIPPED / f"{theirs}.jinja").read_bytes()


def test_the_smollm2_fixture_is_the_one_inside_its_gguf(smollm2_tokenizer):
    assert (TEMPLATES / "smollm2.jinja").read_bytes() == (smollm2_tokenizer / "chat_template.jinja").read_bytes()
