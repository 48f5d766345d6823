"""How the prompts of a model in Ollama compare with those of the chat template in its GGUF, which training uses."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from jinja2 import TemplateError

from ollamake.chat import ChatTemplate, Message
from ollamake.limits import OutOfTimeError, within_limits

QUESTION = {"role": "user", "content": "One?"}
CONVERSATIONS: tuple[list[Message], ...] = (
    [QUESTION],
    [{"role": "system", "content": "Be brief."}, QUESTION],
    [QUESTION, {"role": "assistant", "content": "Two."}, {"role": "user", "content": "Three?"}],
)
FUNCTIONS = {"json": lambda value: json.dumps(value, ensure_ascii=False)}
ANSWER = "\0"


class Comparison(NamedTuple):
    """`outcome` for models/base.json; where prompts differ, the first pair: Ollama's and the GGUF's."""

    outcome: str
    served: str = ""
    trained: str = ""


def compare(template: str, jinja: ChatTemplate) -> Comparison:
    """Compare what both write for a few conversations. The token that begins a text may be left to the runtime.

    Both are a stranger's, and neither gets more time or memory than conversations need.
    """
    from gotpl import TemplateError as GoError

    if not template or template == jinja.source:
        return Comparison("the GGUF's own")
    begin = dict(jinja.special_tokens).get("bos_token", "")
    for messages in CONVERSATIONS:
        try:
            trained = jinja.render(messages, add_generation_prompt=True)
        except TemplateError:  # as Gemma's does for a system message
            continue
        try:
            served = within_limits(partial(_served, template, messages))
        except (GoError, MemoryError, OutOfTimeError, RecursionError):
            return Comparison("not comparable")
        if served not in (trained, trained.removeprefix(begin)):
            return Comparison("writes other prompts", served, trained)
    return Comparison("writes the same prompts")


def _served(template: str, messages: Sequence[Message]) -> str:
    """Return what Ollama writes, up to where the answer begins. Raises gotpl.TemplateError for what is not known here.

    Templates from before 2024 have .Prompt in place of .Messages and are written once for each question.
    """
    import gotpl

    def write(**data: Any) -> str:
        nothing = {"Tools": None, "Think": False, "ThinkLevel": "", "IsThinkSet": False, "Suffix": ""}
        budget = gotpl.ExecutionBudget.strict()
        return str(gotpl.render(template, {**nothing, **data}, functions=FUNCTIONS, missing_key="zero", budget=budget))

    system = next((message["content"] for message in messages if message["role"] == "system"), "")
    if ".Messages" in template:
        listed = [{"Role": message["role"], "Content": message["content"], "ToolCalls": None} for message in messages]
        return write(Messages=listed, System=system, Response="").partition(ANSWER)[0]
    texts = list[str]()
    turns = [message["content"] for message in messages if message["role"] != "system"]
    for question, answer in zip(turns[::2], [*turns[1::2], ANSWER], strict=True):
        texts.append(write(Prompt=question, Response=answer, System=system if not texts else ""))
    return "".join(texts).partition(ANSWER)[0]
