"""Write the trained model as GGUF, and prove that it behaves as the trained model does."""

import time
from pathlib import Path

from pydantic import PositiveInt

from ollamake.base import RECORD, open_base, store
from ollamake.files import atomic_folder, read_jsonl, write_json
from ollamake.gguf.quantizations import QuantizationName
from ollamake.stage import StageParams, run

TUNED, PROBE = Path("models/tuned"), Path("data/prepared/probe.jsonl")
GGUF, METRICS = Path("models/gguf"), Path("metrics/convert.json")


class Params(StageParams):
    gguf_quantization: QuantizationName
    parity_max_new_tokens: PositiveInt
    parity_prompts: PositiveInt
    system_prompt: str


def main(params: Params) -> None:
    from ollamake.gguf import build, parity, proof
    from ollamake.gguf.prompts import Prompts
    from ollamake.gguf.scratch import scratch_folder

    started = time.monotonic()
    base = open_base(RECORD)
    prompts = Prompts.of(base)
    room = base.context_length - params.parity_max_new_tokens
    probe = parity.probe_questions(read_jsonl(PROBE), params.system_prompt, prompts, params.parity_prompts, room)
    with scratch_folder(store() / "tmp") as scratch, atomic_folder(GGUF) as out:
        files = build.build(base, TUNED, prompts, params.gguf_quantization, scratch, out)
        fixtures = parity.fixture_questions(params.system_prompt, prompts)
        proofs = proof.prove(files, base, TUNED, prompts, probe, fixtures, params.parity_max_new_tokens)
        proof.write_serving(out, proofs[-1], prompts, params.parity_max_new_tokens)
    write_json(METRICS, proof.metrics(proofs, time.monotonic() - started))
    print(proof.table(proofs))


if __name__ == "__main__":
    run(Params, main)
