import math

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from ollamake.scoring.aggregate import Statistics
from ollamake.scoring.metrics import agreements, versions

REFERENCES = ["ls -alh", "tar -xzf archive.tgz", "grep -v '#' notes.txt | sort", "git push origin main"]
ANSWERS = ["ls  -alh\n", "tar -xvf archive.tgz file", "awk '{print $1}' notes.txt", ""]
COMMANDS = st.text(alphabet="ab -.|é\n", max_size=24)


def item(prediction, reference):
    return agreements([prediction], [reference])[0].scores


def corpus(predictions, references):
    counted = {"nats": 1.0, "tokens": 1, "bytes": 1, "new_tokens": 1, "reference_tokens": 1, "stopped": True}
    rows = [
        {**counted, "scores": agreement.scores, "statistics": agreement.statistics}
        for agreement in agreements(predictions, references)
    ]
    return Statistics.of(rows).scores()


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence_of_words():
    # "tar archive tgz" is common: three of the answer's five words, and of the reference's four.
    precision, recall = 3 / 5, 3 / 4
    found = item("tar -xvf archive.tgz file", "tar -xzf archive.tgz")["rouge_l"]
    assert found == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)


def test_rouge_1_and_2_count_words_and_pairs_of_them():
    # Of "cp b a c" and "cp a b c" all words are the same, of the three pairs none.
    assert item("cp b a c", "cp a b c")["rouge_1"] == 1
    assert item("cp b a c", "cp a b c")["rouge_2"] == 0
    assert item("cp b a c", "cp a b c")["rouge_l"] == 0.75
    assert item("cp a b d", "cp a b c")["rouge_2"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize(("name", "key"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")])
def test_rouge_reads_ascii_as_rouge_score_does(name, key):
    scorer = RougeScorer([key])
    expected = [scorer.score(r, a)[key].fmeasure for r, a in zip(REFERENCES, ANSWERS, strict=True)]
    assert 0 < sum(expected) < 4
    assert corpus(ANSWERS, REFERENCES)[name] == pytest.approx(sum(expected) / 4, abs=1e-6)


def test_rouge_reads_other_scripts_which_rouge_score_drops():
    assert RougeScorer(["rougeL"]).score("покажи файлы", "покажи файлы")["rougeL"].fmeasure == 0
    assert item("Покажи файлы", "покажи файлы")["rouge_l"] == 1


@given(st.lists(st.tuples(COMMANDS, COMMANDS), min_size=1, max_size=6))
def test_bleu_and_chrf_of_all_answers_are_sacrebleus(pairs):
    predictions, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = corpus(predictions, references)
    bleu = BLEU(force=True).corpus_score(predictions, [references]).score
    assert found["bleu"] == pytest.approx(bleu / 100, abs=1e-6)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(predictions, [references]).score / 100, abs=1e-6)


def test_bleu_and_chrf_of_commands_are_sacrebleus_and_neither_nothing_nor_all():
    found = corpus(ANSWERS, REFERENCES)
    assert 0 < found["bleu"] < 1
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(ANSWERS, [REFERENCES]).score / 100, abs=1e-6)
    assert 0 < found["chrf"] < 1
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(ANSWERS, [REFERENCES]).score / 100, abs=1e-6)


def test_bleu_and_chrf_of_one_answer_are_sacrebleus_for_sentences():
    for answer, reference in zip(ANSWERS, REFERENCES, strict=True):
        bleu = BLEU(effective_order=True).sentence_score(answer, [reference]).score
        assert item(answer, reference)["bleu"] == pytest.approx(bleu / 100, abs=1e-6)
        chrf = sacrebleu.sentence_chrf(answer, [reference]).score
        assert item(answer, reference)["chrf"] == pytest.approx(chrf / 100, abs=1e-6)


def test_bleu_by_hand():
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples are right; as long as the reference.
    precisions = (4 / 5) * (3 / 4) * (2 / 3) * (1 / 2)
    assert corpus(["cp a b c x"], ["cp a b c d"])["bleu"] == pytest.approx(precisions ** (1 / 4), abs=1e-6)
    # A short answer pays for it: 4 words against 5.
    assert corpus(["cp a b c"], ["cp a b c d"])["bleu"] == pytest.approx(math.exp(1 - 5 / 4), abs=1e-6)


def test_bleu_is_silent_about_commands_that_end_in_a_separate_full_stop(caplog):
    commands = ["cp -r folder ."] * 200
    assert corpus(commands, commands)["bleu"] == 1
    assert not caplog.records


def test_an_exact_match_may_differ_in_white_space_only():
    assert corpus(ANSWERS, REFERENCES)["exact_match"] == 1 / 4
    assert item("LS -alh", "ls -alh")["exact_match"] == 0
    assert item("ls -a lh", "ls -alh")["exact_match"] == 0


def test_the_first_word_is_the_tool():
    assert corpus(ANSWERS, REFERENCES)["first_word_accuracy"] == 2 / 4
    assert item("gitk --all", "git log")["first_word_accuracy"] == 0
    assert item(" git status", "git log")["first_word_accuracy"] == 1


def test_perfect_answers_score_one_and_empty_ones_zero():
    # Of a command of two words, the corpus has no BLEU by itself: no four words in a row.
    longer = [f"{reference} a b c" for reference in REFERENCES]
    names = ("rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "exact_match", "first_word_accuracy")
    assert {corpus(longer, longer)[name] for name in names} == {1}
    assert {corpus([""] * 4, REFERENCES)[name] for name in names} == {0}


def test_as_many_answers_as_references_are_needed():
    with pytest.raises(ValueError, match="[Mm]ismatch"):
        agreements(ANSWERS[:3], REFERENCES)


def test_scoring_leaves_no_folder_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    agreements(ANSWERS, REFERENCES)
    assert list(tmp_path.iterdir()) == []


def test_the_versions_are_sacrebleus_own_signatures_and_those_installed():
    found = versions()
    assert found["bleu"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert found["chrf"] == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}"
    assert "rouge_score:0.1.2" in found["rouge_l"]
    assert "+" not in found["loss"]
