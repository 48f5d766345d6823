"""The proof that a GGUF behaves as the trained model does."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from ollamake.base import Base
from ollamake.chat import Message, with_system
from ollamake.errors import ParityError
from ollamake.gguf import metadata
from ollamake.gguf.findings import Finding, equal, refuse_failures
from ollamake.gguf.fixtures import CONVERSATIONS, EDGE_SPACES, awkward_strings
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.quantizations import Quantization
from ollamake.gguf.reference import Judgement
from ollamake.gguf.render import rendered
from ollamake.gguf.runtime import Runtime, Transcript

LONGEST_PROMPT_TOKENS = 4096  # a longer one costs minutes on a CPU and proves no more
TEXT_PROMPT_WORDS = 40
CONTEXT_STEP = 256


@dataclass(frozen=True)
class Question:
    """A conversation that waits for its answer: as messages, as the text and as the token ids of training.

    `reference` are the token ids of the answer that the data has, with the end token; empty where it has none.
    """

    messages: list[Message]
    text: str
    ids: list[int]
    reference: tuple[int, ...] = ()


@dataclass(frozen=True)
class Examined:
    """What one GGUF showed: the findings that need no trained model, and its answers for the trained model to judge.

    `forced` are the reference answers of those questions that have one, said by the GGUF.
    """

    findings: list[Finding]
    questions: Sequence[Question]
    transcripts: list[Transcript]
    forced: list[Transcript]
    seconds: float


def probe_questions(
    rows: Sequence[Mapping[str, Any]], system_prompt: str, prompts: Prompts, count: int, room: int
) -> list[Question]:
    """Return the first `count` probe rows by id, of those that the template accepts and that fit into `room` tokens.

    A row of plain text asks with its first words. Raises ParityError for none.
    """
    found: list[Question] = []
    for row in sorted(rows, key=lambda row: str(row["id"])):
        messages = with_system(_question(row), system_prompt)
        try:
            text = prompts.text(messages)
        except TemplateError:  # tokenize drops and counts such conversations: training has not seen them either
            continue
        ids = prompts.ids(text)
        if len(ids) <= min(room, LONGEST_PROMPT_TOKENS):
            found.append(Question(messages, text, ids, _reference(row, messages, ids, prompts)))
        if len(found) == count:
            break
    if not found:
        raise ParityError(
            "there is no prompt to prove the model on",
            where="data/prepared/probe.jsonl",
            hint="raise probe_fraction, so that some prompts are held out for the proof",
        )
    return found


def _question(row: Mapping[str, Any]) -> list[Message]:
    if "messages" in row:
        return list(row["messages"][:-1])
    return [{"role": "user", "content": " ".join(row["text"].split()[:TEXT_PROMPT_WORDS])}]


def _reference(row: Mapping[str, Any], messages: list[Message], prompt: list[int], prompts: Prompts) -> tuple[int, ...]:
    """Return the tokens of the answer as training had them: those that follow the prompt, up to the end token."""
    if "messages" not in row:
        return ()
    try:
        ids = prompts.ids(prompts.template.render([*messages, row["messages"][-1]]))
    except TemplateError:
        return ()
    after = ids[len(prompt) :]
    end = next((place for place, token in enumerate(after, start=1) if token in prompts.end_ids), 0)
    # A template may write a conversation with an answer in another way than the prompt before it.
    return tuple(after[:end]) if ids[: len(prompt)] == prompt else ()


def fixture_questions(system_prompt: str, prompts: Prompts) -> list[Question]:
    """Return the conversations of other shapes that a server has to render as training would have."""
    opened = {name: with_system(messages, system_prompt) for name, messages in prompts.readable(CONVERSATIONS).items()}
    return [Question(opened[name], text, prompts.ids(text)) for name, text in prompts.texts(opened).items()]


def examine(
    file: Path,
    base: Base,
    prompts: Prompts,
    quantization: Quantization,
    questions: Sequence[Question],
    max_new_tokens: int,
) -> Examined:
    """Compare everything about `file` that must be equal, and let llama.cpp answer the questions."""
    started = time.monotonic()
    findings = metadata.check(file, base, prompts, quantization.file_type)
    if not all(finding.passed for finding in findings if finding.group == "weights"):
        refuse_failures(findings, file)  # llama.cpp would not load it, and not say why
    longest = max(len(question.ids) for question in questions) + max_new_tokens
    with Runtime(file, longest + CONTEXT_STEP - longest % CONTEXT_STEP) as runtime:
        findings += compare_tokens(runtime, prompts, metadata.splitter(file))  # the cause before what comes of it
        findings += compare_prompts(file, runtime, prompts, questions)
        findings += check_stop(runtime, prompts, questions[0].ids)
        end = prompts.ids(prompts.end_of_turn)[0]
        transcripts, forced = [], []
        for question in questions:
            transcripts.append(runtime.answer(question.ids, max_new_tokens))
            if question.reference:
                forced.append(runtime.force(question.ids, question.reference[:max_new_tokens], end))
    return Examined(findings, questions, transcripts, forced, time.monotonic() - started)


def compare_prompts(file: Path, runtime: Runtime, prompts: Prompts, questions: Sequence[Question]) -> Iterator[Finding]:
    """Compare texts and token ids of prompts: what the server makes of the messages, against training."""
    fixtures = prompts.readable({**CONVERSATIONS, **EDGE_SPACES})
    texts = prompts.texts(fixtures)
    asked = {name: Question(fixtures[name], text, prompts.ids(text)) for name, text in texts.items()}
    asked |= {f"question {number}": question for number, question in enumerate(questions, start=1)}
    made = rendered(file, [question.messages for question in asked.values()])
    for (name, question), served in zip(asked.items(), made, strict=True):
        text = question.text.removeprefix(prompts.bos)  # the server adds it
        yield equal("prompt texts", name, text, served)
        yield equal("token ids", f"the prompt of {name}", question.ids, runtime.tokenize(text, add_special=True))


def compare_tokens(runtime: Runtime, prompts: Prompts, splitter: str) -> Iterator[Finding]:
    """Compare the token ids of awkward strings, which llama.cpp splits by the rules that `splitter` names."""
    for text in map(prompts.composed, awkward_strings(prompts.control_tokens)):
        subject = f"{text!r}, split by {splitter}"
        yield equal("token ids", subject, prompts.ids(text), runtime.tokenize(text, add_special=False))


def check_stop(runtime: Runtime, prompts: Prompts, prompt: Sequence[int]) -> Iterator[Finding]:
    """Check that the token after an answer is one control token, and that llama.cpp ends the answer on it."""
    text = prompts.end_of_turn
    ids = prompts.ids(text)
    single = len(ids) == 1 and text in prompts.control_tokens
    detail = f"expected one control token\ngot      {ids}"
    yield Finding("stops", f"{text!r} is a token of its own", passed=single, detail=detail)
    ends = runtime.ends_at(ids[0], prompt)
    yield Finding("stops", f"{text!r} ends an answer", passed=ends, detail="expected the end\ngot      more text")


def compare_stops(
    transcripts: Sequence[Transcript], judgements: Sequence[Judgement], end_ids: frozenset[int]
) -> Iterator[Finding]:
    """Check that llama.cpp stops wherever the trained model, having said the same, ends its answer."""
    for number, (transcript, judgement) in enumerate(zip(transcripts, judgements, strict=True), start=1):
        agreed = zip(transcript.answer, judgement.first_choices, strict=True)
        ends = [index for index, (token, choice) in enumerate(agreed) if token == choice and token in end_ids]
        if ends:
            stopped = transcript.stopped and ends[0] == len(transcript.answer) - 1
            detail = f"expected the end after {ends[0] + 1} tokens\ngot      {len(transcript.answer)} tokens"
            yield Finding("stops", f"answer {number}", passed=stopped, detail=detail)
