"""What a training leaves behind of its course: curves, a summary, a journal, and what stands on the screen."""

import io
import json
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from ollamake.errors import ParamsError, TrainingError
from ollamake.training import progress, reporters
from ollamake.training.journal import Journal
from ollamake.training.log import TrainingLog
from ollamake.training.progress import Bar, Lines
from ollamake.training.watch import SERIES
from stages import train
from tests.watched import points, run, write_rows, written

CURVES = train.PLOTS / "metrics"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_rows()
    return tmp_path


def open_log():
    return TrainingLog(str(train.METRICS), str(train.PLOTS))


def journal():
    (file,) = Path("logs").glob("train-*.log")
    return file.read_text()


def test_every_curve_that_dvc_was_promised_is_there_even_without_a_point(workspace):
    with open_log() as log:
        log.restart([])
    assert {file.name for file in CURVES.iterdir()} == {f"{name}.tsv" for name in SERIES}
    assert points("gpu_utilization") == []


def test_a_training_that_goes_on_begins_with_the_points_it_had(workspace):
    with open_log() as log:
        log.restart([])
        log.add({"step": 7, "loss": 9.0})
        log.restart([{"step": 1, "loss": 3.0, "grad_norm": 0.5}, {"step": 1, "eval_loss": 2.5}])
        log.add({"step": 2, "loss": 2.0})
    assert points("train_loss") == [("1", "3.0"), ("2", "2.0")]
    assert points("val_loss") == [("1", "2.5")]


def test_the_summary_holds_what_was_put_there_and_no_last_points(workspace):
    with open_log() as log:
        log.restart([])
        log.add({"step": 7, "loss": 9.0, "learning_rate": 0.1})
        log.summary.update({"val_loss": 1.5})
    assert json.loads(train.METRICS.read_text()) == {"val_loss": 1.5}


def test_a_training_that_failed_leaves_no_summary_and_its_reason_in_the_journal(workspace):
    with pytest.raises(TrainingError), open_log() as log:
        log.summary.update({"val_loss": 1.5})
        raise TrainingError("came to nothing", hint="try again")
    assert not train.METRICS.exists()
    assert re.search(r"Z error: came to nothing\n\S+Z hint: try again\n$", journal())


def test_what_is_to_be_closed_is_closed_when_training_fails_or_begins_again(workspace):
    closed = []
    with pytest.raises(KeyboardInterrupt), open_log() as log:
        log.closing.callback(closed.append, 1)
        log.restart([])
        assert closed == [1]
        log.closing.callback(closed.append, 2)
        raise KeyboardInterrupt
    assert closed == [1, 2]


def test_of_several_processes_only_the_first_writes(workspace, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with open_log() as log:
        log.restart([])
        log.add({"step": 1, "loss": 1.0})
        log.note("nothing")
        log.summary.update({"val_loss": 1.5})
    assert [path for path in (train.METRICS, CURVES, Path("logs")) if path.exists()] == []


def test_every_line_of_the_journal_has_its_time(workspace):
    file = Journal("train")
    file.write("one\ntwo")
    lines = file.path.read_text().splitlines()  # while it is still open: a kill loses nothing
    file.close()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
    assert datetime.fromisoformat(lines[0].split()[0]).utcoffset().total_seconds() == 0


def test_trainings_that_start_in_the_same_second_have_journals_of_their_own(workspace, monkeypatch):
    monkeypatch.setattr("ollamake.training.journal.stamp", lambda: "now")
    files = [Journal("train"), Journal("train")]
    assert [file.path.name for file in files] == ["train-now.log", "train-now-2.log"]
    for file in files:
        file.close()


def test_the_journal_of_an_experiments_copy_goes_to_the_checkout(workspace, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(workspace / "checkout"))
    file = Journal("train")
    file.close()
    assert file.path.parent == workspace / "checkout/logs"


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.start(10, 110)
    for step in range(11, 111):
        now[0] += 1
        lines.step(step, {"loss": 2.0, "grad_norm": 1.0})
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: step 40 of 110, about 70 s left: loss 2.0000"
    assert len(said) == 3


def test_a_training_that_goes_on_at_its_last_step_has_nothing_to_foretell(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.start(110, 110)
    now[0] = 100.0
    lines.step(110, {"eval_loss": 2.0})
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_with_the_figures(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = Bar()
    bar.start(3, 10)
    bar.step(4, {"loss": 2.0, "eval_loss": 1.9, "tokens_per_second": 12345.6})
    bar.validating(1, 2)
    bar.say("train: step 4 of 10: [validation] loss 1.9000")
    bar.end()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "train: step 4 of 10: [validation] loss 1.9000" in text
    assert re.search(r"train .* 4/10 .*loss 2.000, val. 1.900, 12,346 tok/s left: ", text)
    assert re.search(r"validate .* 1/2", text)
    assert screen.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is not given back"


@pytest.mark.parametrize("package", ["tensorboard", "wandb", "mlflow"])
def test_a_reporter_that_is_not_installed_is_refused_with_the_command_for_it(package, monkeypatch):
    monkeypatch.setattr(reporters, "find_spec", lambda name: None)
    refusal = rf"report_to: {package} is not installed\nhint: `.venv/bin/pip install {package}`"
    with pytest.raises(ParamsError, match=refusal):
        reporters.require_reporter(package)
    reporters.require_reporter("none")


def test_somebody_who_is_not_logged_in_at_wandb_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not reporters._logged_in()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert reporters._logged_in()
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert reporters._logged_in()


@pytest.mark.slow
def test_a_training_can_be_followed_from_its_first_line_to_its_last(workspace, narrow_base, capsys):
    result = run(narrow_base)
    text = journal()
    assert "per_device_batch_size 2" in text.splitlines()[0]
    assert "8 examples, 8 steps, on cpu in 1 process(es), 8,192 of 147,776 parameters train" in text
    assert len(re.findall(r"Z step \d of 8: loss .*learning rate .*gradient norm .*tokens/s, .* MB", text)) == 8
    assert len(re.findall(r"Z step [48] of 8: validation loss .*, gap ", text)) == 2
    assert f"'val_loss': {result['val_loss']}" in text.splitlines()[-1]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert [line.split(":")[1] for line in said] == [" step 4 of 8", " step 8 of 8"]
    assert result == json.loads(train.METRICS.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("every", "steps"), [(0, ["4", "8"]), (3, ["3", "6", "8"]), (4, ["4", "8"]), (100, ["8"])])
def test_validation_comes_when_it_is_due_and_after_the_last_step(workspace, narrow_base, every, steps):
    run(narrow_base, val_every_steps=every)
    assert [step for step, _ in points("val_loss")] == [step for step, _ in points("overfitting_gap")] == steps


@pytest.mark.slow
def test_the_best_model_is_shipped_and_the_next_best_lie_beside_it(workspace, narrow_base):
    write_rows(own_words(narrow_base))
    result = run(narrow_base, keep_best=2, val_every_steps=2, learning_rate=0.03)
    index = json.loads((train.CHECKPOINTS / "index.json").read_text())
    ranked = sorted(index["validations"], key=lambda one: one["val_loss"])
    second = f"step-{ranked[1]['step']}"
    assert [one["model"] for one in ranked] == ["models/tuned", f"models/checkpoints/{second}", None, None]
    assert index["shipped"] == result["shipped_step"] == result["best_step"] == ranked[0]["step"] != 8
    assert {path.name for path in train.CHECKPOINTS.iterdir()} == {"index.json", second}
    best = (train.TUNED / "adapter_model.safetensors").read_bytes()
    run(narrow_base, keep_best=0, val_every_steps=2, learning_rate=0.03)
    assert (train.TUNED / "adapter_model.safetensors").read_bytes() != best
    assert json.loads((train.CHECKPOINTS / "index.json").read_text())["shipped"] == 8


@pytest.mark.slow
def test_training_ends_when_patience_does(workspace, narrow_base):
    waits = {"early_stopping_patience": 2, "early_stopping_min_delta": 100.0, "val_every_steps": 1}
    result = run(narrow_base, **waits)
    assert result["stopped_early"] == result["steps"] == 3
    assert "stopped_early" not in run(narrow_base, val_every_steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e30, 30.0])
def test_a_training_that_diverges_stops_at_once_and_leaves_no_checkpoint_of_it(workspace, narrow_base, rate):
    write_rows(own_words(narrow_base))
    options = {"max_grad_norm": 0.0, "num_epochs": 9, "checkpoint_seconds": 0, "lr_scheduler": "constant"}
    said = rf"training diverged at step \d+: .*\nhint: .*-S learning_rate={re.escape(f'{rate / 10:g}')}`"
    with pytest.raises(TrainingError, match=said):
        run(narrow_base, learning_rate=rate, **options)
    step = int(points("train_loss")[-1][0])
    assert step < 9
    assert not (Path("held") / f"checkpoint-{step}").exists()
    assert not train.TUNED.exists()
    assert "training diverged at step" in journal()


def own_words(base):
    """Rows that the model itself goes on with, so that it begins with a low loss."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    prompts = torch.tensor([[100 + 31 * number + place for place in range(4)] for number in range(8)])
    return model.generate(prompts, min_new_tokens=16, max_new_tokens=16, do_sample=False, pad_token_id=0).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_killed_training_ends_with_the_same_curves_models_and_answers(workspace, narrow_base, monkeypatch, step):
    options = {"keep_best": 2, "val_every_steps": 2, "val_samples": 2, "checkpoint_seconds": 0, "learning_rate": 0.5}
    options |= {"val_samples_max_new_tokens": 4, "lora_dropout": 0.1}
    with monkeypatch.context() as patch:
        note = TrainingLog.note

        def killed(self, text):
            if text.startswith(f"step {step} of"):
                raise KeyboardInterrupt
            note(self, text)

        patch.setattr(TrainingLog, "note", killed)
        with pytest.raises(KeyboardInterrupt):
            run(narrow_base, **options)
    resumed = run(narrow_base, **options)
    found = written()
    shutil.rmtree("held")
    straight = run(narrow_base, **options)
    assert found == written()
    timed = {"seconds", "tokens_per_second", "peak_memory_mb"}
    assert {key: resumed[key] for key in resumed if key not in timed} == {
        key: straight[key] for key in straight if key not in timed
    }
