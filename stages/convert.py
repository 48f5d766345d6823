"""Write the trained model as GGUF, and prove that it behaves as the trained model does."""

import sys
import time
from pathlib import Path

from pydantic import PositiveInt

from ollamake.base import RECORD, open_base, store
from ollamake.files import atomic_folder, read_jsonl, write_json
from ollamake.gguf.quantizations import QuantizationNames
from ollamake.stage import StageParams, run

TUNED, PROBE = Path("models/tuned"), Path("data/prepared/probe.jsonl")
GGUF, METRICS, PLOT = Path("models/gguf"), Path("metrics/convert.json"), Path("plots/convert/quality.csv")


class Params(StageParams):
    gguf_quantization: QuantizationNames
    parity_max_new_tokens: PositiveInt
    parity_prompts: PositiveInt
    system_prompt: str


def main(params: Params) -> None:
    from ollamake.gguf import build, parity, proof, quality
    from ollamake.gguf.prompts import Prompts
    from ollamake.gguf.scratch import scratch_folder
    from ollamake.gguf.table import table

    started = time.monotonic()
    base = open_base(RECORD)
    prompts, length = Prompts.of(base), params.parity_max_new_tokens
    asked, served = params.gguf_quantization, params.gguf_quantization[0]
    room = base.context_length - length
    probe = parity.probe_questions(read_jsonl(PROBE), params.system_prompt, prompts, params.parity_prompts, room)
    with scratch_folder(store() / "tmp") as scratch, atomic_folder(GGUF) as out:
        files = build.build(base, TUNED, prompts, asked, scratch, out)
        fixtures = parity.fixture_questions(params.system_prompt, prompts)
        proofs = proof.prove(files, base, TUNED, prompts, probe, fixtures, served, length)
        proof.write_serving(out, next(one for one in proofs if one.built.name == served), prompts, length)
    quality.write_plot(PLOT, [(one.built.name, one.size_bytes, one.quality) for one in proofs])
    write_json(METRICS, proof.metrics(proofs, time.monotonic() - started))
    print(table(proofs))


if __name__ == "__main__":
    # PEFT would import it, which takes a second and 45 MB, for nothing.
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]
    run(Params, main)
