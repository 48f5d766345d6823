"""Several processes: what they are told, what is refused, and that they learn what one process learns."""

import shutil
import signal
import socket

import pytest

from ollamake.errors import ParamsError, TrainingError
from ollamake.labels import IGNORE_INDEX
from ollamake.training import launch
from ollamake.training.distributed import deepspeed_config, sharing
from ollamake.training.examples import training_examples
from stages import train
from tests.training import settings
from tests.unit.launching import adapter, finish, lay_out, ranks, said, series, start, wait_for_step

TWO = {"distributed": "ddp", "num_processes": 2}
TORCHRUN = ("torchrun", "--standalone", "--nproc_per_node", "2")
BY_HAND = {
    "itself": [],
    "torchrun": [*TORCHRUN, "-m", "stages.train"],
    # One process, whatever it is told; the stage then starts two by itself.
    "accelerate": ["accelerate", "launch", "--cpu", "--num_processes", "2", "-m", "stages.train"],
}


def several(**changes):
    return settings(**{**TWO, **changes})


def test_one_machine_needs_nothing_from_the_environment():
    assert launch.torchrun_arguments(several(num_processes=4), {}) == [
        *("--standalone", "--local_addr", "127.0.0.1"),
        *("--nproc_per_node", "4", "--local_ranks_filter", "0", "--signals_to_handle", "SIGHUP,SIGQUIT"),
    ]


def test_several_machines_are_told_apart_by_the_environment():
    environment = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7"}
    assert launch.torchrun_arguments(several(num_processes=8, num_nodes=2), environment) == [
        *("--nnodes", "2", "--node_rank", "1", "--master_addr", "10.0.0.7", "--master_port", "29500"),
        *("--nproc_per_node", "8", "--local_ranks_filter", "0", "--signals_to_handle", "SIGHUP,SIGQUIT"),
    ]
    assert "1234" in launch.torchrun_arguments(several(num_nodes=2), {**environment, "MASTER_PORT": "1234"})


@pytest.mark.parametrize("environment", [{}, {"NODE_RANK": "0"}, {"NODE_RANK": "0", "MASTER_ADDR": ""}])
def test_a_machine_that_does_not_know_which_it_is_says_what_to_set(environment):
    with pytest.raises(ParamsError, match=r"does not say .*MASTER_ADDR\nhint: on every machine: `NODE_RANK="):
        launch.torchrun_arguments(several(num_nodes=2), environment)


def test_torchrun_understands_the_arguments():
    from torch.distributed.run import parse_args

    environment = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7"}
    for options in (several(), several(num_nodes=2)):
        parsed = parse_args([*launch.torchrun_arguments(options, environment), "-m", "stages.train"])
        assert (parsed.nproc_per_node, parsed.nnodes, parsed.module) == ("2", parsed.nnodes, True)
        assert parsed.training_script == "stages.train"


def test_the_stage_starts_others_only_where_several_are_wanted_and_nobody_has_started_them():
    assert launch.launches(several(), {})
    assert not launch.launches(several(), {"RANK": "0", "WORLD_SIZE": "2"})
    assert not launch.launches(settings(), {})
    assert not launch.launches(settings(distributed="ddp"), {})


def test_another_number_of_processes_is_refused_with_the_command_that_works():
    for options, started in ((several(), "1"), (settings(), "2"), (several(num_nodes=2), "2")):
        with pytest.raises(ParamsError, match=r"launcher started \d.*\nhint: .*`torchrun --nproc_per_node \d"):
            launch.refuse_other_number(options, {"WORLD_SIZE": started})
    launch.refuse_other_number(several(num_nodes=2), {"WORLD_SIZE": "4"})
    launch.refuse_other_number(several(), {})


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"not installed\nhint: `pip install deepspeed`"):
        launch.refuse_unsuitable(several(distributed="deepspeed"))
    launch.refuse_unsuitable(several())


@pytest.mark.parametrize(("gpus", "hint"), [(1, "num_processes=1 -S distributed=none`"), (3, "num_processes=3`")])
def test_fewer_gpus_than_processes_are_refused(monkeypatch, gpus, hint):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(ParamsError, match=rf"num_processes is 4, and this machine has {gpus} GPU.*\n.*{hint}"):
        launch.refuse_unsuitable(several(num_processes=4))


def test_fsdp_without_gpus_is_refused_because_it_would_silently_be_ddp(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ParamsError, match="fsdp needs GPUs"):
        launch.refuse_unsuitable(several(distributed="fsdp"))


@pytest.mark.parametrize("shared", [{"distributed": "fsdp"}, {"distributed": "deepspeed", "deepspeed_stage": 3}])
def test_quantized_weights_are_not_shared_out(shared):
    with pytest.raises(ParamsError, match="cannot share out the quantized weights"):
        launch.refuse_unsuitable(several(method="qlora", **shared))
    launch.refuse_unshareable(several(method="qlora", distributed="deepspeed", deepspeed_stage=2))


@pytest.mark.parametrize(
    ("codes", "code"),
    [({0: -15, 1: 143}, 143), ({1: 130, 0: -15}, 130), ({0: -2}, 130), ({1: 1, 0: -15}, 1)],
)
def test_the_exit_code_is_that_of_the_signal_unless_something_failed(tmp_path, codes, code):
    with pytest.raises(SystemExit) as stopped:
        launch.end_as(codes, tmp_path)
    assert stopped.value.code == code


def test_the_first_to_fail_has_the_word(tmp_path):
    (tmp_path / "12-0.words").write_text("the connection was closed\n")
    (tmp_path / "11-1.words").write_text("error: here\nhint: there\n")
    with pytest.raises(SystemExit) as stopped:
        launch.end_as({0: 1, 1: 1}, tmp_path)
    assert stopped.value.code == "error: here\nhint: there"
    with pytest.raises(TrainingError, match=r"process 1 of the training was killed \(SIGKILL\)"):
        launch.end_as({0: 1, 1: -9}, tmp_path)


def test_what_the_trainer_is_told_about_fsdp():
    assert sharing(several(distributed="fsdp", gradient_checkpointing=True)) == {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "state_dict_type": "FULL_STATE_DICT",
            "cpu_ram_efficient_loading": False,
            "activation_checkpointing": True,
        },
        "activation_checkpointing": False,
    }


def test_what_the_trainer_is_told_about_deepspeed():
    told = sharing(several(distributed="deepspeed", deepspeed_stage=3))
    assert told == {"deepspeed": deepspeed_config(3), "activation_checkpointing": False}
    assert told["deepspeed"] == {
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }
    assert deepspeed_config(2)["zero_optimization"] == {
        "stage": 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
    }


def test_one_process_is_told_nothing_about_others():
    for distributed in ("none", "ddp", "fsdp", "deepspeed"):
        assert sharing(settings(distributed=distributed)) == {"activation_checkpointing": False}
    assert sharing(several()) == {"ddp_find_unused_parameters": False, "activation_checkpointing": False}


def test_the_last_batch_is_filled_up_with_examples_that_teach_nothing(tmp_path, narrow_base):
    folder = lay_out(tmp_path / "rows", narrow_base, rows=9)
    examples = training_examples(folder / train.TRAIN, folder / train.PACKS, "random", 8, 1)
    assert len(examples) == 9
    examples.fill_up(8)
    assert len(examples) == 16
    supervised = [int((row.labels != IGNORE_INDEX).sum()) for number in range(16) for row in examples[number]]
    assert min(supervised[:9]) > 0
    assert supervised[9:] == [0] * 7
    examples.fill_up(3)
    assert len(examples) == 9


@pytest.mark.slow
def test_fsdp_wraps_the_layers_that_the_model_names(tmp_path, narrow_base):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig

    told = SFTConfig(output_dir=str(tmp_path), use_cpu=True, **sharing(several(distributed="fsdp"))).fsdp_plugin_args
    assert (told["fsdp_version"], told["reshard_after_forward"]) == (2, True)
    plugin = FullyShardedDataParallelPlugin(**told)
    plugin.set_auto_wrap_policy(AutoModelForCausalLM.from_pretrained(narrow_base))
    wrapped = plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
    assert {kind.__name__ for kind in wrapped} == {"LlamaDecoderLayer"}


def in_one_and_two(tmp_path, base):
    """Lay out the same training for one process and for two."""
    whole = {"rows": 9, "max_steps": 0, "num_epochs": 2, "per_device_batch_size": 8}
    # The last step of an epoch has one row: three of four batches are blank.
    halves = {"per_device_batch_size": 2, "gradient_accumulation_steps": 2}
    return lay_out(tmp_path / "one", base, **whole), lay_out(tmp_path / "two", base, **{**whole, **TWO, **halves})


def assert_alike(one, two):
    for name in ("train_loss", "val_loss"):
        assert series(one, name) == pytest.approx(series(two, name), rel=1e-5)
    assert list(series(one, "train_loss")) == [1, 2, 3, 4]
    assert len(series(one, "val_loss")) == 2


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("way", BY_HAND)
def test_two_processes_learn_what_one_learns(tmp_path, narrow_base, way):
    one, two = in_one_and_two(tmp_path, narrow_base)
    processes = [start(one), start(two, *BY_HAND[way])]
    assert [finish(process) for process in processes] == [0, 0], said(two)
    assert_alike(one, two)


STOPPED = """
import os
import signal

from ollamake import params
from ollamake.training import loss
from stages.train import Params, train

signals = [signal.SIGTERM]
step = loss.SupervisedTrainer.training_step


def stopped(self, *args, **options):
    if signals and self.args.process_index == 1 and self.state.global_step == 2:
        os.kill(os.getpid(), signals.pop())
    return step(self, *args, **options)


loss.SupervisedTrainer.training_step = stopped
train(params.select(Params, params.read()))
"""


@pytest.mark.slow
def test_two_processes_of_which_one_was_stopped_go_on_and_learn_what_one_learns(tmp_path, narrow_base):
    one, two = in_one_and_two(tmp_path, narrow_base)
    undisturbed = start(one)
    (two / "stopped.py").write_text(STOPPED)
    assert finish(start(two, *TORCHRUN, "stopped.py")) == 1  # torchrun's own
    assert not (two / train.TUNED).exists()
    assert list(series(two, "train_loss")) == [1, 2, 3]
    assert finish(start(two)) == 0, said(two)
    assert "going on from step 3" in said(two)
    assert finish(undisturbed) == 0, said(one)
    assert_alike(one, two)


@pytest.mark.slow
@pytest.mark.nightly
def test_stopped_and_killed_as_often_as_you_like_two_processes_end_with_the_same_bytes(tmp_path, narrow_base):
    told = {**TWO, "rows": 24, "max_steps": 0, "num_epochs": 40, "per_device_batch_size": 2, "lora_dropout": 0.1}
    whole = lay_out(tmp_path / "whole", narrow_base, **told)
    undisturbed = start(whole)
    folder = lay_out(tmp_path / "stopped", narrow_base, **told, checkpoint_seconds=0)
    process = start(folder)
    wait_for_step(folder, 5, process)
    for victim in [process, *ranks(process)]:
        victim.kill()
    assert finish(process) == -signal.SIGKILL
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = max(series(folder, "train_loss"))
        process = start(folder)
        wait_for_step(folder, before + 8, process)
        process.send_signal(number)
        assert finish(process) == code
        assert said(folder).count("`dvc repro` goes on from there") == 1
    assert finish(start(folder)) == 0, said(folder)
    assert "going on from step" in said(folder)
    assert finish(undisturbed) == 0, said(whole)
    assert series(folder, "train_loss") == series(whole, "train_loss")
    assert adapter(folder) == adapter(whole)


@pytest.mark.slow
@pytest.mark.nightly
def test_the_death_of_one_process_ends_all_and_is_told_once(tmp_path, narrow_base):
    folder = lay_out(tmp_path / "dying", narrow_base, **TWO, max_steps=5000, num_epochs=5000)
    process = start(folder)
    wait_for_step(folder, 2, process)
    first, second = ranks(process)
    second.kill()
    assert finish(process) == 1
    assert not first.is_running()
    assert "error: process 1 of the training was killed (SIGKILL)\nhint: `dvc repro` goes on" in said(folder)
    assert "Traceback" not in said(folder)


@pytest.mark.slow
@pytest.mark.nightly
def test_what_all_processes_refuse_is_told_once(tmp_path, narrow_base):
    folder = lay_out(tmp_path / "refused", narrow_base, **TWO, lora_target_modules="q_prj")
    assert finish(start(folder)) == 1
    assert said(folder).count("error: params.yaml: lora_target_modules") == 1
    assert "Traceback" not in said(folder)


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path, narrow_base):
    folder = lay_out(tmp_path / "orphaned", narrow_base, **TWO, max_steps=5000, num_epochs=5000)
    process = start(folder)
    wait_for_step(folder, 2, process)
    orphans = ranks(process)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    for orphan in orphans:
        orphan.wait(30)


@pytest.mark.slow
@pytest.mark.nightly
def test_two_machines_stop_together_and_go_on_only_with_the_checkpoint_at_hand(tmp_path, narrow_base):
    told = {"distributed": "ddp", "num_nodes": 2, "rows": 24, "max_steps": 100, "per_device_batch_size": 2}
    machines = [lay_out(tmp_path / name, narrow_base, **told) for name in ("first", "second")]

    def start_both():
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        return [start(machine, NODE_RANK=str(number), **where) for number, machine in enumerate(machines)]

    first, second = machines
    processes = start_both()
    wait_for_step(first, 2, processes[0])
    processes[1].terminate()
    assert [finish(process) for process in processes] == [143, 143]
    assert [finish(process) for process in start_both()] == [1, 1]
    assert said(first).count("not every machine has the checkpoint to go on from") == 1
    shutil.rmtree(second / ".checkpoints")
    (second / ".checkpoints").symlink_to(first / ".checkpoints")
    assert [finish(process) for process in start_both()] == [0, 0], said(second)
    assert list(series(first, "train_loss")) == list(range(1, 101))
    assert not (second / train.TUNED).exists()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


FSDP = (*TORCHRUN, "fsdp.py")
FSDP_ON_CPU = """
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

plain = AcceleratorState.__init__


def shares(self, *args, fsdp_plugin=None, **options):
    plain(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = shares

from ollamake import params
from ollamake.training import loss
from stages.train import Params, train
from torch.distributed.tensor import DTensor

step = loss.SupervisedTrainer.training_step


def checked(self, model, *args, **options):
    layers = model.get_submodule("base_model.model.model.layers")
    assert all(isinstance(weight, DTensor) for weight in layers.parameters())
    return step(self, model, *args, **options)


loss.SupervisedTrainer.training_step = checked
train(params.select(Params, params.read()))
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_fsdp_learns_what_one_process_learns(tmp_path, narrow_base):
    """On CPUs, where accelerate 1.15 would run DDP without saying so (state.py), and FSDP2 itself does work."""
    whole = {"rows": 9, "max_steps": 0, "num_epochs": 2, "per_device_batch_size": 8}
    one = lay_out(tmp_path / "one", narrow_base, **whole)
    shared = {**TWO, "distributed": "fsdp", "per_device_batch_size": 4}
    two = lay_out(tmp_path / "two", narrow_base, **{**whole, **shared})
    (two / "fsdp.py").write_text(FSDP_ON_CPU)
    processes = [start(one), start(two, *FSDP)]
    assert [finish(process) for process in processes] == [0, 0], said(two)
    for name in ("train_loss", "val_loss"):
        assert series(one, name) == pytest.approx(series(two, name), rel=1e-5)
    assert len(adapter(one)) == len(adapter(two))


@pytest.mark.slow
@pytest.mark.nightly
def test_fsdp_goes_on_from_its_checkpoint_with_the_same_bytes(tmp_path, narrow_base):
    told = {**TWO, "distributed": "fsdp", "method": "full", "rows": 24, "max_steps": 60, "per_device_batch_size": 2}
    folders = [lay_out(tmp_path / name, narrow_base, **told, learning_rate=0.001) for name in ("whole", "stopped")]
    for folder in folders:
        (folder / "fsdp.py").write_text(FSDP_ON_CPU.replace("base_model.model.model.layers", "model.layers"))
    whole, stopped = folders
    undisturbed, process = (start(folder, *FSDP) for folder in folders)
    wait_for_step(stopped, 3, process)
    for rank in ranks(process):
        rank.terminate()
    assert finish(process) == 1  # torchrun's own
    assert finish(start(stopped, *FSDP)) == 0, said(stopped)
    assert "going on from step" in said(stopped)
    assert finish(undisturbed) == 0, said(whole)
    assert series(stopped, "train_loss") == series(whole, "train_loss")
    models = [(folder / train.TUNED / "model.safetensors").read_bytes() for folder in folders]
    assert models[0] == models[1]
