"""The whole stage on a tiny model: what it leaves behind when it succeeds, and that it leaves nothing when it fails."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ollamake.base import Base
from ollamake.errors import ConversionError, DiskError, ParityError
from ollamake.files import read_json, sha256, write_json, write_jsonl
from ollamake.gguf import build, write
from ollamake.gguf.scratch import scratch_folder
from stages import convert
from tests.unit.planted import conversation, write_adapter

ROOT = Path(__file__).parents[2]
SYSTEM = "Be brief."
pytestmark = pytest.mark.xdist_group("convert")  # one worker trains once


def parameters(**changes):
    defaults = {
        "gguf_quantization": "Q8_0",
        "parity_max_new_tokens": 8,
        "parity_prompts": 4,
        "system_prompt": SYSTEM,
    }
    return convert.Params(**{**defaults, **changes})


def make_workspace(folder: Path, base: Path) -> Path:
    shutil.copytree(base, folder / ".ollamake/base/tiny")
    files = {file.name: sha256(file) for file in base.iterdir()}
    record = {"name": "tiny", "license": "mit", "architecture": "LlamaForCausalLM", "key": "tiny", "files": files}
    write_json(folder / "models/base.json", record)
    write_adapter(folder / "models/tuned")
    write_jsonl(folder / "data/prepared/probe.jsonl", [{"id": str(n), "messages": conversation(n)} for n in range(6)])
    return folder


@pytest.fixture
def workspace(tmp_path, tiny_base, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(make_workspace(tmp_path / "here", tiny_base))
    return Path.cwd()


def contents(folder):
    return {file.name: sha256(file) for file in sorted(folder.iterdir())}


def left_over(workspace):
    models = {file.name for file in (workspace / "models").iterdir()} - {"tuned", "base.json"}
    return models | {str(file) for file in (workspace / ".ollamake/tmp").glob("*")}


@pytest.fixture(scope="module")
def converted(tiny_base, tmp_path_factory):
    """A workspace after one run of the stage; only for reading."""
    workspace = make_workspace(tmp_path_factory.mktemp("converted") / "here", tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(workspace)
        convert.main(parameters())
    return workspace


@pytest.mark.slow
def test_the_stage_writes_a_proved_model_and_what_serving_it_takes(converted):
    written = contents(converted / "models/gguf")
    assert set(written) == {"model-Q8_0.gguf", "template.gotmpl", "serving.json", "proof.json"}
    serving = read_json(converted / "models/gguf/serving.json")
    assert serving["sha256"] == written["model-Q8_0.gguf"]
    assert serving["stops"] == ["<|im_end|>"]
    metrics = read_json(converted / "metrics/convert.json")
    assert metrics["F16"]["top1_agreement"] >= 0.98
    assert metrics["F16"]["size_bytes"] > metrics["Q8_0"]["size_bytes"] == serving["size_bytes"]
    assert metrics["Q8_0"]["prompts"] == 4
    assert metrics["F16"]["perplexity"] == pytest.approx(metrics["F16"]["trained_perplexity"], rel=0.01)
    assert metrics["F16"]["reference_tokens"] == 4 * 3  # never, asked, end of turn
    assert metrics["Q8_0"]["tokens_per_second"] > 0
    assert left_over(converted) == {"gguf"}


@pytest.mark.slow
@pytest.mark.nightly
def test_of_several_quantizations_the_first_is_served_and_all_are_measured(workspace, capsys):
    convert.main(parameters(gguf_quantization="Q4_0 F16 BF16"))
    written = contents(Path("models/gguf"))
    files = {"model-Q4_0.gguf", "model-F16.gguf", "model-BF16.gguf"}
    assert set(written) == files | {"template.gotmpl", "serving.json", "proof.json"}
    assert read_json(Path("models/gguf/serving.json"))["gguf"] == "model-Q4_0.gguf"
    assert len(read_json(Path("models/gguf/proof.json"))["prompts"]) == 4 + 7
    metrics = read_json(Path("metrics/convert.json"))
    names = [name for name in metrics if isinstance(metrics[name], dict)]
    assert names == ["F16", "Q4_0", "BF16"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:2] == ["file", "size"]
    assert [line.split()[0] for line in printed[1:4]] == names
    with Path("plots/convert/quality.csv").open() as stream:
        plotted = list(csv.DictReader(stream))
    assert [row["quantization"] for row in plotted] == names
    assert [float(row["perplexity"]) for row in plotted] == [metrics[name]["perplexity"] for name in names]


@pytest.mark.slow
def test_rows_of_plain_text_have_no_reference_and_are_proved_all_the_same(workspace, capsys):
    rows = [{"id": str(n), "text": f"Once upon a time {n} there was a file, and nobody knew why."} for n in range(6)]
    write_jsonl(Path("data/prepared/probe.jsonl"), rows)
    convert.main(parameters(gguf_quantization="F16"))
    metrics = read_json(Path("metrics/convert.json"))["F16"]
    assert metrics["reference_tokens"] == 0
    assert "perplexity" not in metrics
    assert "–" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_inputs_elsewhere_give_the_same_bytes(converted, workspace, capsys):
    convert.main(parameters())
    assert workspace != converted
    assert contents(Path("models/gguf")) == contents(converted / "models/gguf")
    assert capsys.readouterr().out.count(" MB ") == 2


@pytest.mark.slow
def test_nothing_that_is_written_tells_where_it_was_made(converted):
    written = [*(converted / "models/gguf").iterdir(), converted / "metrics/convert.json"]
    assert len(written) == 5
    for file in written:
        assert str(converted.parent).encode() not in file.read_bytes()
        assert str(Path.home()).encode() not in file.read_bytes()


@pytest.mark.slow
def test_the_proof_for_the_server_holds_the_user_s_prompts_and_other_shapes(converted):
    proof = read_json(converted / "models/gguf/proof.json")
    assert proof["max_new_tokens"] == 8
    assert len(proof["prompts"]) == 4 + 7
    first = proof["prompts"][0]
    assert first["messages"] == [{"role": "system", "content": SYSTEM}, conversation(0)[0]]
    assert first["rendered"].endswith("why?<|im_end|>\n<|im_start|>assistant\n")
    assert len(first["token_ids"]) > 20
    assert any(len(prompt["messages"]) > 3 for prompt in proof["prompts"])


@pytest.mark.slow
def test_a_whole_model_is_written_and_proved_as_an_adapter_is(workspace, capsys):
    tuned = Path("models/tuned")
    shutil.rmtree(tuned)
    shutil.copytree(Path(".ollamake/base/tiny"), tuned, ignore=shutil.ignore_patterns("token*", "*.jinja"))
    weights, random = load_file(tuned / "model.safetensors"), np.random.default_rng(2)
    changed = {
        name: (tensor * random.normal(1, 0.1, tensor.shape)).astype(np.float32) for name, tensor in weights.items()
    }
    save_file(changed, tuned / "model.safetensors", metadata={"format": "pt"})
    convert.main(parameters(gguf_quantization="F16"))
    assert read_json(Path("metrics/convert.json"))["F16"]["top1_agreement"] >= 0.98
    assert "Against the trained model on 4 held-out prompts" in capsys.readouterr().out
    changed["model.norm.weight"][0] = np.nan
    save_file(changed, tuned / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match="cannot be merged: some of its weights are no numbers"):
        convert.main(parameters(gguf_quantization="F16"))


@pytest.mark.slow
def test_a_template_that_opens_with_bos_leaves_it_to_the_server(workspace):
    base = Path(".ollamake/base/tiny")
    template = "{{ bos_token }}" + (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").write_text(template)
    config = read_json(base / "tokenizer_config.json")
    write_json(base / "tokenizer_config.json", {**config, "bos_token": "<|endoftext|>", "add_bos_token": False})
    files = {file.name: sha256(file) for file in base.iterdir()}
    write_json(Path("models/base.json"), {**read_json(Path("models/base.json")), "files": files})
    convert.main(parameters())
    assert "<|endoftext|>" not in Path("models/gguf/template.gotmpl").read_text()
    assert b"tokenizer.ggml.add_bos_token\x07\0\0\0\x01" in Path("models/gguf/model-Q8_0.gguf").read_bytes()
    assert read_json(Path("models/gguf/proof.json"))["prompts"][0]["token_ids"][:2] == [0, 1]


@pytest.mark.slow
def test_a_failed_proof_leaves_no_model(workspace, monkeypatch):
    from gguf import GGUFReader

    def write_and_spoil(base, tuned, folder, file, number_format, *, name):
        write.write_gguf(base, tuned, folder, file, number_format, name=name)
        reader = GGUFReader(file, "r+")
        values = next(tensor for tensor in reader.tensors if tensor.name == "blk.0.attn_v.weight")
        values.data[:] *= -1
        reader.data.flush()

    monkeypatch.setattr(build, "write_gguf", write_and_spoil)
    with pytest.raises(ParityError) as caught:
        convert.main(parameters())
    assert caught.value.where == "model-F16.gguf"
    assert left_over(workspace) == set()
    assert not Path("metrics/convert.json").exists()


@pytest.mark.slow
def test_an_adapter_that_is_not_a_number_is_refused_before_it_is_converted(workspace):
    weights = load_file("models/tuned/adapter_model.safetensors")
    weights[next(iter(weights))][:] = np.nan
    save_file(weights, "models/tuned/adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match="cannot be merged"):
        convert.main(parameters())
    assert left_over(workspace) == set()


def test_a_full_disk_is_noticed_before_any_work(workspace, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(DiskError, match="merging and converting"):
        convert.main(parameters())
    assert left_over(workspace) == set()


def test_a_missing_converter_is_named_with_the_command_that_brings_it(workspace, monkeypatch):
    monkeypatch.setattr(write, "CONVERTER", Path("nowhere"))
    with pytest.raises(ConversionError) as caught:
        convert.main(parameters())
    assert caught.value.hint == "`make setup`"
    assert left_over(workspace) == set()


def test_a_converter_that_fails_says_why(tiny_base, tmp_path):
    base, folder = Base(tiny_base, {"name": "tiny"}), tmp_path / "model"
    write.lay_out(base, folder, bos=False)
    write_json(folder / "config.json", {**base.config, "architectures": ["NoSuchModel"]})
    with pytest.raises(
        ConversionError, match=r"converter failed with exit code 1\n(.*\n)*.*NoSuchModel is not supported"
    ):
        write.write_gguf(base, write_adapter(tmp_path / "tuned"), folder, tmp_path / "out.gguf", "F16", name="tiny")
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"gguf_quantization": "Q3_K"},
        {"gguf_quantization": "F16 F16"},
        {"gguf_quantization": " "},
        {"parity_prompts": 0},
        {"parity_prompts": "16"},
    ],
)
def test_parameters_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        parameters(**wrong)


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_is_in_use_is_not(tmp_path):
    left = tmp_path / "tmp" / "left"
    left.mkdir(parents=True)
    (left / "model-F16.gguf").write_text("large")
    with scratch_folder(tmp_path / "tmp") as first, scratch_folder(tmp_path / "tmp") as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("modules", ["stages.convert", "ollamake.gguf.build, ollamake.gguf.proof"])
def test_the_stage_holds_no_heavy_libraries_while_the_converter_runs(modules):
    heavy = ("torch", "transformers", "peft", "gguf", "xllamacpp", "cyllama")
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
