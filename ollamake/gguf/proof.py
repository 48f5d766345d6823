"""The whole proof of a conversion: every file examined, judged by the trained model, and written down."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.files import sha256, write_json
from ollamake.gguf import agreement, go_template, matrices, quality
from ollamake.gguf.agreement import Agreement
from ollamake.gguf.build import Built
from ollamake.gguf.findings import passed, refuse_failures
from ollamake.gguf.fixtures import CONVERSATIONS, EDGE_SPACES
from ollamake.gguf.parity import Examined, Question, compare_stops, examine
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.quality import Quality
from ollamake.gguf.quantizations import QUANTIZATIONS, QuantizationName
from ollamake.gguf.reference import TrainedModel
from ollamake.peak import children_peak_mb, resident_peak_mb


@dataclass(frozen=True)
class Proof:
    """A proved file; `checks` counts what passed by group."""

    built: Built
    size_bytes: int
    agreement: Agreement
    quality: Quality
    checks: dict[str, int]
    examined: Examined


def prove(
    files: Sequence[Built],
    base: Base,
    tuned: Path,
    prompts: Prompts,
    probe: list[Question],
    fixtures: list[Question],
    served: QuantizationName,
    max_new_tokens: int,
) -> list[Proof]:
    """Return the proof of each file. Raises ParityError with every check of a file that failed.

    The agreement is measured on `probe`; `fixtures` are put to the file that is `served` too, so that a server can be
    compared with what it answered.
    """
    examined = []
    for built in files:
        questions = [*probe, *fixtures] if built.name == served else probe
        examined.append(examine(built.file, base, prompts, QUANTIZATIONS[built.name], questions, max_new_tokens))
    trained = TrainedModel(base, tuned)
    # All at once, which takes the fewest passes; below it is known.
    trained.judge([said for one in examined for said in (*one.transcripts[: len(probe)], *one.forced)])
    proofs = []
    for built, one in zip(files, examined, strict=True):
        if built.name == "F16":  # the others are made of it, or by the same converter
            one.findings.extend(matrices.check(built.file, base.config, trained))
        proofs.append(_verdict(built, one, trained, len(probe), prompts))
    return proofs


def _verdict(built: Built, one: Examined, trained: TrainedModel, measured: int, prompts: Prompts) -> Proof:
    questions, transcripts = one.questions[:measured], one.transcripts[:measured]
    judgements = trained.judge(transcripts)
    agreed = agreement.measure(transcripts, judgements)
    found = [
        *one.findings,
        *agreement.check(agreed, QUANTIZATIONS[built.name]),
        *compare_stops(transcripts, judgements, prompts.end_ids),
    ]
    refuse_failures(found, built.file)
    references = trained.judge(one.forced)
    worth = quality.measure(questions, transcripts, one.forced, references, prompts)
    return Proof(built, built.file.stat().st_size, agreed, worth, passed(found), one)


def write_serving(out: Path, proof: Proof, prompts: Prompts, max_new_tokens: int) -> None:
    """Write what a server needs beside the file, and what it has to repeat. Raises ParityError for no Go template."""
    template = _go_template(prompts, proof.examined.questions)
    (out / "template.gotmpl").write_text(template, encoding="utf-8", newline="")
    serving = {
        "gguf": proof.built.file.name,
        "sha256": sha256(proof.built.file),
        "size_bytes": proof.size_bytes,
        "quantization": proof.built.name,
        "stops": [prompts.end_of_turn],
    }
    write_json(out / "serving.json", serving)
    answered = [
        {
            "messages": question.messages,
            "rendered": question.text,
            "token_ids": question.ids,
            "answer": transcript.text,
            "stopped": transcript.stopped,
        }
        for question, transcript in zip(proof.examined.questions, proof.examined.transcripts, strict=True)
    ]
    write_json(out / "proof.json", {"max_new_tokens": max_new_tokens, "prompts": answered})


def _go_template(prompts: Prompts, questions: Sequence[Question]) -> str:
    """Return the Go template that writes the prompts of every shape of conversation and of all `questions`."""
    conversations = {**CONVERSATIONS, **EDGE_SPACES}
    conversations |= {f"question {number}": question.messages for number, question in enumerate(questions, start=1)}
    expected = {name: text.removeprefix(prompts.bos) for name, text in prompts.texts(conversations).items()}
    for name, messages in EDGE_SPACES.items():
        if name in expected and messages[0]["content"] not in expected[name]:
            del expected[name]  # the Jinja template strips messages, which no Go template can
    return go_template.choose(expected, go_template.candidates(prompts.default_system), conversations)


def metrics(proofs: Sequence[Proof], seconds: float) -> dict[str, Any]:
    """Return what metrics/convert.json holds: an entry a file, and the cost of the whole stage."""
    entries: dict[str, Any] = {
        proof.built.name: {
            "size_bytes": proof.size_bytes,
            **{key: round(value, 6) for key, value in asdict(proof.agreement).items()},
            **quality.figures(proof.quality),
            "checks": proof.checks,
            "seconds": round(proof.built.seconds + proof.examined.seconds, 1),
        }
        for proof in proofs
    }
    peak = max(resident_peak_mb(), children_peak_mb())
    return {**entries, "seconds": round(seconds, 1), "peak_memory_mb": peak}
