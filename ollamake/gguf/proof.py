"""The whole proof of a conversion: every file examined, judged by the trained model, and written down."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ollamake.base import Base
from ollamake.files import sha256, write_json
from ollamake.gguf import agreement, go_template
from ollamake.gguf.agreement import Agreement
from ollamake.gguf.build import Built
from ollamake.gguf.findings import passed, refuse_failures
from ollamake.gguf.fixtures import CONVERSATIONS, EDGE_SPACES
from ollamake.gguf.parity import Examined, Question, compare_stops, examine
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.quantizations import QUANTIZATIONS
from ollamake.gguf.reference import TrainedModel
from ollamake.peak import children_peak_mb, resident_peak_mb


@dataclass(frozen=True)
class Proof:
    """A proved file; `checks` counts what passed by group."""

    built: Built
    size_bytes: int
    agreement: Agreement
    checks: dict[str, int]
    examined: Examined


def prove(
    files: Sequence[Built],
    base: Base,
    tuned: Path,
    prompts: Prompts,
    probe: list[Question],
    fixtures: list[Question],
    max_new_tokens: int,
) -> list[Proof]:
    """Return the proof of each file. Raises ParityError with every check that failed.

    The agreement is measured on `probe`; `fixtures` are put to the last file too, so that a server can be compared
    with what it answered.
    """
    examined = []
    for built in files:
        questions = [*probe, *fixtures] if built is files[-1] else probe
        examined.append(examine(built.file, base, prompts, QUANTIZATIONS[built.name], questions, max_new_tokens))
    trained = TrainedModel(base, tuned)
    return [
        _verdict(built, one, trained, len(probe), prompts.end_ids) for built, one in zip(files, examined, strict=True)
    ]


def _verdict(built: Built, one: Examined, trained: TrainedModel, measured: int, end_ids: frozenset[int]) -> Proof:
    transcripts = one.transcripts[:measured]
    judgements = [trained.judge(transcript) for transcript in transcripts]
    agreed = agreement.measure(transcripts, judgements)
    found = [
        *one.findings,
        *agreement.check(agreed, QUANTIZATIONS[built.name]),
        *compare_stops(transcripts, judgements, end_ids),
    ]
    refuse_failures(found, built.file)
    return Proof(built, built.file.stat().st_size, agreed, passed(found), one)


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
            "checks": proof.checks,
            "seconds": round(proof.built.seconds + proof.examined.seconds, 1),
        }
        for proof in proofs
    }
    peak = max(resident_peak_mb(), children_peak_mb())
    return {**entries, "seconds": round(seconds, 1), "peak_memory_mb": peak}


def table(proofs: Sequence[Proof]) -> str:
    """Return one line a file for a person to read."""
    return "\n".join(
        f"{proof.built.name:<7}{proof.size_bytes / 1e6:7,.1f} MB  "
        f"{proof.agreement.top1_agreement:6.1%} of {proof.agreement.tokens} tokens as the trained model, "
        f"log-probabilities {proof.agreement.mean_abs_dlogprob:.4f} apart, "
        f"{proof.agreement.exact_sequences} of {proof.agreement.prompts} answers equal, "
        f"{sum(proof.checks.values())} checks passed"
        for proof in proofs
    )
