"""The first rendering of a chat template, in a process of its own that may use little.

A template comes from a stranger, and Jinja's sandbox keeps it from this machine's objects, not from its time and
memory: `'a' * 10**8` and `10**10000000` pass it (reference/reliability.md R6.3). So it is compiled and rendered once
where it can harm nothing, and refused there.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ollamake.chat import ChatTemplate

CPU_SECONDS, MEMORY_BYTES, WALL_SECONDS = 2, 512 << 20, 60
# Of a conversation with a sentence or two; the longest default system text that is published has some 5,000.
MAX_CHARACTERS = 100_000
REPOSITORY = Path(__file__).parents[2]

SYSTEM = {"role": "system", "content": "Trial-text zero."}
QUESTION = {"role": "user", "content": "Trial-text one?"}
ANSWER = {"role": "assistant", "content": "Trial-text two."}
# No row has them, but servers run the template with them, too: llama.cpp as soon as it loads the file.
CALL = {"id": "call00001", "type": "function", "function": {"name": "trial", "arguments": {"number": 1}}}
TOOLS = [{"type": "function", "function": {"name": "trial", "description": "A trial.", "parameters": {}}}]
WITH_TOOLS: list[dict[str, Any]] = [
    QUESTION,
    {"role": "assistant", "content": "", "reasoning_content": "Trial-text three.", "tool_calls": [CALL]},
    {"role": "tool", "name": "trial", "tool_call_id": "call00001", "content": "1"},
]


def find_problem(template: ChatTemplate) -> str:
    """Return what is wrong with `template` as a sentence about it, nothing when it renders as it should."""
    given = json.dumps({"source": template.source, "special_tokens": template.special_tokens})
    command = [sys.executable, "-m", "ollamake.resolve.trial"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, env=environment, timeout=WALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"takes more than {WALL_SECONDS} seconds to render a question"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"takes more than {CPU_SECONDS} seconds to render a question"
    if done.returncode:
        return "breaks the rendering off"
    return str(json.loads(done.stdout))


def main() -> None:
    """Read a template from stdin, write what is wrong with it to stdout, both as JSON."""
    given = json.load(sys.stdin)
    _limit()
    try:
        problem = _problem(ChatTemplate(given["source"], tuple(map(tuple, given["special_tokens"]))))
    except MemoryError:
        problem = f"needs more than {MEMORY_BYTES >> 20} MB of memory to render a question"
    except RecursionError:
        problem = "calls itself without end"
    json.dump(problem, sys.stdout)


def _limit() -> None:
    """Hold this process to its share from here on; what the system does not enforce, the parent's clock does."""
    seconds = int(time.process_time()) + CPU_SECONDS
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
    for kind, most in limits.items():
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # macOS knows no limit of the address space
            continue


def _problem(template: ChatTemplate) -> str:
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.exceptions import SecurityError

    try:
        return next(_findings(template), "")
    except TemplateSyntaxError as error:
        return f"is not valid Jinja: line {error.lineno}: {error.message}"
    except SecurityError as error:
        return f"reaches for more than a chat template needs: {error}"
    except TemplateError as error:
        return f"refuses a simple question: {error}"
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever it raises is its fault)
        return f"fails on a simple question: {type(error).__name__}: {error}"


def _findings(template: ChatTemplate) -> Iterator[str]:
    """Yield a sentence for each rendering that is not what training needs."""
    prompt = template.render_unlimited([QUESTION], add_generation_prompt=True)
    row = template.render_unlimited([QUESTION, ANSWER])
    longer = template.render_unlimited([QUESTION, ANSWER, QUESTION], add_generation_prompt=True)
    texts = [prompt, row, longer, _unless_refused(template, [SYSTEM, QUESTION])]
    texts += [_with_tools(template, WITH_TOOLS[:number]) for number in (1, 2, 3)]
    if max(map(len, texts)) > MAX_CHARACTERS:
        yield f"writes more than {MAX_CHARACTERS:,} characters around a question"
    if QUESTION["content"] not in prompt or QUESTION["content"] not in row:
        yield "leaves the user's words out"
    if ANSWER["content"] not in row:
        yield "leaves the assistant's words out"


def _unless_refused(template: ChatTemplate, messages: Sequence[Mapping[str, Any]], **others: Any) -> str:
    """Render a conversation that a good template may refuse, as Gemma's does one with a system message."""
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    try:
        return template.render_unlimited(messages, add_generation_prompt=True, **others)
    except SecurityError:
        raise
    except TemplateError:
        return ""


def _with_tools(template: ChatTemplate, messages: Sequence[Mapping[str, Any]]) -> str:
    """Render a conversation that a good template need not foresee: what it raises then is not about rows of ours."""
    from jinja2.exceptions import SecurityError

    try:
        return _unless_refused(template, messages, tools=TOOLS)
    except (SecurityError, MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - any
        return ""


if __name__ == "__main__":
    main()
