import math

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from ollamake.scoring.metrics import answer_scores, bleu, chrf, exact_match, first_word_accuracy, rouge_l

REFERENCES = ["ls -alh", "tar -xzf archive.tgz", "grep -v '#' notes.txt | sort", "git push origin main"]
ANSWERS = ["ls  -alh\n", "tar -xvf archive.tgz file", "awk '{print $1}' notes.txt", ""]


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence_of_words():
    # "tar archive tgz" is common: three of the answer's five words, and of the reference's four.
    precision, recall = 3 / 5, 3 / 4
    assert rouge_l(["tar -xvf archive.tgz file"], ["tar -xzf archive.tgz"]) == pytest.approx(
        2 * precision * recall / (precision + recall)
    )


def test_rouge_l_reads_ascii_as_rouge_score_does():
    scorer = RougeScorer(["rougeL"])
    expected = [scorer.score(r, a)["rougeL"].fmeasure for r, a in zip(REFERENCES, ANSWERS, strict=True)]
    assert 0 < sum(expected) < 4
    assert rouge_l(ANSWERS, REFERENCES) == pytest.approx(sum(expected) / 4)


def test_rouge_l_reads_other_scripts_which_rouge_score_drops():
    assert RougeScorer(["rougeL"]).score("покажи файлы", "покажи файлы")["rougeL"].fmeasure == 0
    assert rouge_l(["Покажи файлы"], ["покажи файлы"]) == 1


def test_bleu_is_sacrebleus_corpus_bleu_as_a_fraction():
    expected = sacrebleu.corpus_bleu(ANSWERS, [REFERENCES]).score
    assert 0 < expected < 100
    assert bleu(ANSWERS, REFERENCES) == pytest.approx(expected / 100)


def test_bleu_by_hand():
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples are right; as long as the reference.
    precisions = (4 / 5) * (3 / 4) * (2 / 3) * (1 / 2)
    assert bleu(["cp a b c x"], ["cp a b c d"]) == pytest.approx(precisions ** (1 / 4))
    # A short answer pays for it: 4 words against 5.
    assert bleu(["cp a b c"], ["cp a b c d"]) == pytest.approx(math.exp(1 - 5 / 4))


def test_bleu_is_silent_about_commands_that_end_in_a_separate_full_stop(caplog):
    commands = ["cp -r folder ."] * 200
    assert bleu(commands, commands) == pytest.approx(1)
    assert not caplog.records


def test_chrf_is_sacrebleus_corpus_chrf_as_a_fraction():
    expected = sacrebleu.corpus_chrf(ANSWERS, [REFERENCES]).score
    assert 0 < expected < 100
    assert chrf(ANSWERS, REFERENCES) == pytest.approx(expected / 100)


def test_an_exact_match_may_differ_in_white_space_only():
    assert exact_match(ANSWERS, REFERENCES) == 1 / 4
    assert exact_match(["LS -alh"], ["ls -alh"]) == 0
    assert exact_match(["ls -a lh"], ["ls -alh"]) == 0


def test_the_first_word_is_the_tool():
    assert first_word_accuracy(ANSWERS, REFERENCES) == 2 / 4
    assert first_word_accuracy(["gitk --all"], ["git log"]) == 0
    assert first_word_accuracy([" git status"], ["git log"]) == 1


def test_perfect_answers_score_one_and_empty_ones_zero():
    assert answer_scores(REFERENCES, REFERENCES) == pytest.approx(
        {"rouge_l": 1, "bleu": 1, "chrf": 1, "exact_match": 1, "first_word_accuracy": 1}
    )
    assert set(answer_scores([""] * 4, REFERENCES).values()) == {0}


def test_as_many_answers_as_references_are_needed():
    with pytest.raises(ValueError, match="[Mm]ismatch"):
        answer_scores(ANSWERS[:3], REFERENCES)


def test_scoring_leaves_no_folder_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    answer_scores(ANSWERS, REFERENCES)
    assert list(tmp_path.iterdir()) == []
