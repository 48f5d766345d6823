"""Every method on tiny models: what is trained, and that what is saved is what was trained, wherever it is loaded."""

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import convert
from ollamake.base import Base
from ollamake.errors import DiskError, ParamsError
from ollamake.files import read_json
from ollamake.gguf.merge import TrainedWeights
from ollamake.gguf.whole import load_trained, save_merged
from ollamake.gguf.write import lay_out
from ollamake.labels import IGNORE_INDEX
from ollamake.quiet import quiet_loading
from ollamake.scoring.tuned import load_tuned
from ollamake.training.model import load_model, save_tuned, stored_type
from stages import train
from tests.arrow import write_packs, write_tokens
from tests.training import settings

pytestmark = pytest.mark.slow
IDS = torch.tensor([[1, 5, 7, 300, 41, 9, 1000, 2]])
SMALL = {"vocab_size": 1024, "max_position_embeddings": 64}
BLOCKS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": str(number), "input_ids": ids, "labels": [IGNORE_INDEX] * 4 + ids[4:]}
        for number, length in enumerate((9, 14, 11, 17, 10, 12, 15, 8))
        for ids in [[100 + (number * 31 + place * 7) % 900 for place in range(length)]]
    ]
    for path in (train.TRAIN, train.VAL):
        write_tokens(path, rows)
    write_packs(train.PACKS, [])
    return tmp_path


@pytest.fixture
def base(narrow_base):
    return Base(narrow_base, {"name": "tiny"})


def other_base(narrow_base: Path, folder: Path, config, dtype=torch.float32) -> Base:
    """A random model of another architecture with the same tokenizer."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(narrow_base, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    with quiet_loading():
        model = AutoModelForCausalLM.from_config(config).to(dtype)
        for name, parameter in model.named_parameters():  # biases begin at zero
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
    return Base(folder, {"name": "other"})


def gpt2(narrow_base, folder):
    from transformers import GPT2Config

    special = {"bos_token_id": 1, "eos_token_id": 2}
    return other_base(
        narrow_base, folder, GPT2Config(vocab_size=1024, n_positions=64, n_embd=32, n_layer=2, n_head=4, **special)
    )


def experts(narrow_base, folder):
    from transformers import Qwen3MoeConfig

    size = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    return other_base(narrow_base, folder, Qwen3MoeConfig(**SMALL, **BLOCKS, **size))


def trained(base: Base, folder: Path = Path("checkpoints"), **changes):
    """The model at the end of a training."""
    from ollamake.training.log import TrainingLog
    from ollamake.training.trainer import Tokens
    from ollamake.training.trainer import train as run

    with TrainingLog("metrics/train.json", "plots/train") as log:
        tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
        return run(base, tokens, folder, log, settings(**changes)).model.eval()


def logits(model):
    with torch.no_grad():
        return model(IDS.to(model.device)).logits.float()


def apart(first, second):
    """The largest difference of two tensors of logits, as a share of how far they spread."""
    return ((first - second).abs().max() / second.std()).item()


def untouched(base):
    with quiet_loading():
        return logits(load_model(base, settings(method="full"), torch.device("cpu")).eval())


def write_merged(base, tuned, into):
    """Write the weights that the converter is given, in a folder of their own."""
    if TrainedWeights(base.folder, tuned).by_name:
        convert.write_merged(base, tuned, into)
    else:
        lay_out(base, into, bos=False)
        save_merged(base.folder, tuned, into)


def merged_logits(base, tuned, into):
    from transformers import AutoModelForCausalLM

    write_merged(base, tuned, into)
    with quiet_loading():
        return logits(AutoModelForCausalLM.from_pretrained(into, dtype=torch.float32).eval())


def assert_kept(model, base, tolerance=1e-5):
    """What was saved gives the logits of `model`: scored, proved and merged."""
    save_tuned(model, base, train.TUNED)
    expected = logits(model)
    assert apart(untouched(base), expected) > 0.05  # it has learnt
    assert apart(logits(load_tuned(base, train.TUNED, "fp32")), expected) < tolerance
    assert apart(logits(load_trained(base.folder, train.TUNED)), expected) < tolerance
    assert apart(merged_logits(base, train.TUNED, Path("merged")), expected) < tolerance
    for file in train.TUNED.iterdir():
        assert str(base.folder).encode() not in file.read_bytes()
        assert file.suffix in (".json", ".safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_rslora": True},
        {"lora_dora": True},
        {"lora_dora": True, "lora_rslora": True, "lora_dropout": 0.1},
        {"lora_init": "gaussian"},
        {"lora_init": "orthogonal"},
        {"lora_target_modules": "q_proj down_proj"},
    ],
    ids=str,
)
def test_a_saved_adapter_beside_the_base_model_and_merged_into_it_is_the_trained_model(workspace, base, changes):
    model = trained(base, **changes)
    assert_kept(model, base)
    config = read_json(train.TUNED / "adapter_config.json")
    assert config["base_model_name_or_path"] == "tiny"
    assert (config["r"], config["lora_alpha"]) == (4, 8)


@pytest.mark.parametrize("extra", [{}, {"lora_rslora": True}, {"lora_dora": True}], ids=str)
@pytest.mark.parametrize("init", ["olora", "pissa", "pissa_niter_4"])
def test_an_adapter_that_began_as_a_part_of_the_weights_fits_the_base_model_that_still_has_it(
    workspace, base, init, extra
):
    model = trained(base, lora_init=init, **extra)
    assert_kept(model, base)
    config = read_json(train.TUNED / "adapter_config.json")
    assert (config["r"], config["init_lora_weights"]) == (8, True)


@pytest.mark.parametrize("init", ["olora", "pissa"])
def test_such_an_adapter_changes_nothing_before_the_first_step(workspace, base, init):
    model = trained(base, lora_init=init, learning_rate=1e-12, max_steps=1)
    assert apart(logits(model), untouched(base)) < 1e-5


@pytest.mark.parametrize(("bias", "count"), [("all", 2 * 6 + 1), ("lora_only", 2 * 4)])
@pytest.mark.parametrize("init", ["default", "pissa"])
def test_trained_biases_are_saved_loaded_and_merged(workspace, narrow_base, bias, count, init):
    from safetensors.torch import load_file

    base = gpt2(narrow_base, workspace / "base")
    before = {name: tensor for name, tensor in load_file(base.folder / "model.safetensors").items() if "bias" in name}
    model = trained(base, lora_bias=bias, lora_init=init)
    assert_kept(model, base)
    saved = {name for name in load_file(train.TUNED / "adapter_model.safetensors") if name.endswith("bias")}
    assert len(saved) == count
    after = {name: tensor for name, tensor in load_file("merged/model.safetensors").items() if name in before}
    assert sum(not torch.equal(after[name], before[name]) for name in before) == count


def test_the_layers_of_gpt2_which_are_stored_the_other_way_round_have_adapters_and_names(workspace, narrow_base):
    base = gpt2(narrow_base, workspace / "base")
    assert_kept(trained(base, lora_dora=True), base)
    with pytest.raises(ParamsError, match=r"no layer named q_proj that.*\nhint: all-linear, or .*c_attn c_fc c_proj "):
        load_model(base, settings(lora_target_modules="c_attn q_proj"), torch.device("cpu"))
    with pytest.raises(ParamsError, match="olora does not work with the Conv1D layers"):
        load_model(base, settings(lora_init="olora"), torch.device("cpu"))


def test_the_experts_of_a_mixture_are_adapted_with_the_other_layers(workspace, narrow_base):
    base = experts(narrow_base, workspace / "base")
    model = trained(base)
    assert any("experts" in name for name, part in model.named_parameters() if part.requires_grad)
    assert_kept(model, base, 1e-4)
    load_model(base, settings(lora_target_modules="q_proj gate_proj up_proj"), torch.device("cpu"))
    with pytest.raises(ParamsError, match="name them all"):
        load_model(base, settings(lora_target_modules="up_proj"), torch.device("cpu"))
    with pytest.raises(ParamsError, match=r"lora_dropout, lora_dora: not possible for .* experts"):
        load_model(base, settings(lora_dropout=0.1, lora_dora=True), torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lora_target_modules": "q_proj v_prj"}, "no layer named v_prj that can have an adapter"),
        ({"lora_target_modules": "q_proj lm_head"}, "no layer named lm_head"),  # it is the embedding as well
        ({"lora_bias": "all"}, "lora_bias: all, but the base model has no biases"),
        ({"lora_bias": "lora_only"}, "has no biases"),
        ({"lora_init": "pissa", "lora_rank": 40}, "lora_rank: 40, .* dimensions\n.*lora_rank=32"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(base, changes, problem):
    with quiet_loading(), pytest.raises(ParamsError, match=problem):
        load_model(base, settings(**changes), torch.device("cpu"))


@pytest.mark.parametrize("bits", [{"qlora_bits": 8}, {"qlora_type": "nf4"}, {"qlora_type": "fp4"}], ids=str)
def test_qlora_trains_an_adapter_in_full_precision_beside_quantized_weights(workspace, base, bits):
    model = trained(base, method="qlora", **bits)
    kinds = {part.dtype for part in model.parameters() if part.requires_grad}
    assert kinds == {torch.float32}
    assert {part.dtype for part in model.parameters()} > kinds  # int8, uint8
    save_tuned(model, base, train.TUNED)
    assert sorted(file.name for file in train.TUNED.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert "quant" not in (train.TUNED / "adapter_config.json").read_text()
    shipped, expected = logits(load_tuned(base, train.TUNED, "fp32")), logits(model)
    assert apart(merged_logits(base, train.TUNED, Path("merged")), shipped) < 1e-5
    # Shipped is the adapter on the weights as they were before they were quantized.
    assert 1e-3 < (shipped - expected).std() / expected.std() < 0.5
    assert apart(untouched(base), shipped) > 0.05


@pytest.mark.parametrize("bits", [4, 8])
def test_the_gradients_of_qlora_are_those_of_its_weights_unpacked_even_after_a_validation(base, bits):
    chosen = settings(method="qlora", qlora_bits=bits, qlora_compute="fp32")

    def load():
        with quiet_loading():
            return load_model(base, chosen, torch.device("cpu"))

    model, plain = adapted(load()), adapted(load().dequantize())
    expected, before = gradients(plain), gradients(model)
    logits(model.eval())
    after = gradients(model.train())
    assert len(expected) == 2 * 7 * 2
    for name, gradient in expected.items():
        assert (before[name] - gradient).norm() < 1e-4 * gradient.norm()
        assert torch.equal(after[name], before[name])


def adapted(model):
    """The model with a random adapter, the same for every model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    with quiet_loading():
        return get_peft_model(model, config).train()


def gradients(model):
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()
    return {name: part.grad for name, part in model.named_parameters() if part.requires_grad}


def test_qlora_of_the_same_inputs_gives_the_same_bytes(workspace, base):
    def adapter(number, **changes):
        save_tuned(trained(base, Path(f"run-{number}"), method="qlora", lora_dropout=0.1, **changes), base, train.TUNED)
        return (train.TUNED / "adapter_model.safetensors").read_bytes()

    once = adapter(1)
    assert adapter(2) == once
    assert adapter(3, qlora_double_quant=False) != once
    assert adapter(4, qlora_compute="bf16") != once


def test_full_training_changes_every_weight_and_is_loaded_everywhere_as_it_was_trained(workspace, base):
    from safetensors.torch import load_file

    model = trained(base, method="full")
    assert all(part.requires_grad and part.dtype == torch.float32 for part in model.parameters())
    assert_kept(model, base, 1e-6)
    before, after = (load_file(folder / "model.safetensors") for folder in (base.folder, train.TUNED))
    assert before.keys() == after.keys()  # the output matrix stays tied to the embedding
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert (train.TUNED / "config.json").read_bytes() == (base.folder / "config.json").read_bytes()
    assert sorted(file.name for file in train.TUNED.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_a_whole_model_is_saved_in_the_type_of_its_base_and_trained_in_fp32(workspace, narrow_base):
    from safetensors.torch import load_file
    from transformers import Qwen2Config

    config = Qwen2Config(**SMALL, **BLOCKS, intermediate_size=48)
    base = other_base(narrow_base, workspace / "base", config, torch.bfloat16)
    assert stored_type(base) == torch.bfloat16
    model = trained(base, method="full", precision="bf16")
    assert {part.dtype for part in model.parameters()} == {torch.float32}
    assert_kept(model, base, 0.05)
    weights = load_file(train.TUNED / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert weights.keys() == load_file(base.folder / "model.safetensors").keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, model.state_dict()[name].to(torch.bfloat16))


def test_a_whole_mixture_of_experts_keeps_the_names_of_its_base(workspace, narrow_base):
    from safetensors.torch import load_file

    base = experts(narrow_base, workspace / "base")
    assert_kept(trained(base, method="full"), base, 1e-5)
    names = load_file(base.folder / "model.safetensors").keys()
    assert load_file(train.TUNED / "model.safetensors").keys() == names
    assert any("experts.3." in name for name in names)


def test_a_model_that_does_not_fit_on_the_disk_is_not_begun(workspace, base, monkeypatch):
    with quiet_loading():
        model = load_model(base, settings(method="full"), torch.device("cpu"))
    room = type("Usage", (), {"free": base.weights_bytes - 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    with pytest.raises(DiskError, match="the tuned model needs"):
        save_tuned(model, base, train.TUNED)
    assert not train.TUNED.exists()


def test_the_same_losses_come_with_checkpointed_activations(workspace, base):
    def losses(folder, **changes):
        trained(base, folder, **changes)
        return series("train_loss")

    for method in ("lora", "full"):
        plain = losses(Path(f"{method}-1"), method=method)
        assert losses(Path(f"{method}-2"), method=method, gradient_checkpointing=True) == pytest.approx(plain, rel=1e-6)


def series(name):
    lines = Path(f"plots/train/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def test_without_clipping_the_gradient_is_used_as_it_is_and_still_logged(workspace, base):
    plain = {"optimizer": "sgd", "learning_rate": 0.1}

    def losses(folder, limit):
        trained(base, Path(folder), max_grad_norm=limit, **plain)
        return series("train_loss"), series("gradient_norm")

    free, norms = losses("free", 0.0)
    assert (free, norms) == losses("far", 1e9)
    cut, same = losses("cut", norms[0] / 10)
    assert same[0] == norms[0]
    assert cut[1] > free[1]


def test_neftune_acts_in_training_alone_with_the_strength_of_a_padded_batch(workspace, base, monkeypatch):
    still = {"learning_rate": 1e-12, "max_steps": 1}
    trained(base, Path("quiet"), **still)
    quiet, unmoved = series("train_loss"), series("val_loss")
    spans = []

    def watched(self, low, high, draw=torch.Tensor.uniform_, **options):
        spans.append(float(high))
        return draw(self, low, high, **options)

    monkeypatch.setattr(torch.Tensor, "uniform_", watched)
    trained(base, Path("noisy"), neftune_noise_alpha=5.0, **still)
    assert spans[-1] == pytest.approx(5.0 / (17 * 64) ** 0.5)  # the longest row, the size of an embedding
    assert series("train_loss") != pytest.approx(quiet, rel=1e-4)
    assert series("val_loss") == pytest.approx(unmoved, rel=1e-6)
