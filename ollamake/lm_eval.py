"""Tasks of EleutherAI's lm-evaluation-harness on the served model, by the OpenAI-compatible API of its server.

The model is asked as a user asks it: through its chat template, its system prompt and its quantization. Only tasks in
which it writes something can be run so. A server does not give the log-probabilities of a prompt's own tokens, and from
those multiple-choice and perplexity tasks are computed; lm-eval's own `hf` model runs them on models/tuned.
"""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.asking.role import reach
from ollamake.errors import OllamakeError, ParamsError, ServerError
from ollamake.files import write_json
from ollamake.ollama.address import Address
from ollamake.ollama.names import listed_name

PACKAGE = "lm-eval[api]"
WRITTEN = "generate_until"  # what lm-eval calls a task in which the model writes
KEPT = ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better")
SHOWN_TASKS = 10


@dataclass(frozen=True)
class Wish:
    """What to run: tasks by name or file, a folder of task files, how many rows of each task (None: all), the seed."""

    tasks: Sequence[str]
    include_path: Path | None
    limit: int | None
    seed: int


def run(model: str, wish: Wish, out: Path) -> str:
    """Run the tasks on the model of this name, write the results to `out` and return them as a table.

    Raises OllamakeError without the package, ParamsError for tasks that do not exist or cannot be run through a server,
    ServerError when there is no such server or model.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise OllamakeError("lm-eval is not installed", hint=f"`pip install '{PACKAGE}'`, then the same command again")
    address = reach(model, "then the same command again")
    about = _find(address, model)

    import lm_eval
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import make_table

    manager = TaskManager(include_path=str(wish.include_path) if wish.include_path else None)
    _require_known(manager, wish)
    tasks = manager.load(list(wish.tasks))["tasks"]
    _require_written({name: task.OUTPUT_TYPE for name, task in tasks.items()})
    seeds = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    with _key_of_the_server():
        found = lm_eval.simple_evaluate(
            model="local-chat-completions",
            model_args={
                "model": model,
                "base_url": f"{address.url}/v1/chat/completions",
                "tokenizer_backend": None,  # the server counts
                "num_concurrent": 1,  # several at once are computed as a batch, where near ties may fall another way
                "seed": wish.seed,
            },
            tasks=list(wish.tasks),
            task_manager=manager,
            limit=wish.limit,
            apply_chat_template=True,
            log_samples=False,
            **dict.fromkeys(seeds, wish.seed),
        )
    kept = {key: found[key] for key in KEPT if key in found}
    write_json(out, {**about, "lm_eval": lm_eval.__version__, "limit": wish.limit, **kept})
    return f"{make_table(found)}\n{model} in {address.url}; results: {out}"


def _find(address: Address, model: str) -> dict[str, str]:
    """Return what identifies the model. Raises ServerError when the server does not have it."""
    from ollamake.ollama.connection import Connection  # httpx loads here

    with Connection(address) as server:
        if (digest := server.digest(listed_name(model))) is None:
            raise ServerError(f"there is no model {model}", where=address.url, hint="`dvc repro export` puts it there")
        return {"model": model, "digest": digest, "server_version": server.version()}


@contextmanager
def _key_of_the_server() -> Iterator[None]:
    """Let lm-eval send the key of the server in the place of that of OpenAI, which it would give to whoever answers."""
    from ollamake.ollama.connection import api_key  # httpx loads here

    own = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = api_key()
    try:
        yield
    finally:
        del os.environ["OPENAI_API_KEY"]
        if own is not None:
            os.environ["OPENAI_API_KEY"] = own


def _require_known(manager: Any, wish: Wish) -> None:
    """Raise ParamsError for a name that is no task, no group and no file."""
    unknown = [name for name in wish.tasks if name not in manager.all_tasks and not Path(name).is_file()]
    if unknown:
        raise ParamsError(
            f"lm-eval has no task {', '.join(unknown)}",
            where=str(wish.include_path or "lm-eval"),
            hint="`lm-eval ls tasks` lists its own; --include-path takes a folder with task files of yours",
        )


def _require_written(kinds: dict[str, str]) -> None:
    """Raise ParamsError for tasks that need the log-probabilities of a prompt; `kinds` are their output types."""
    if refused := [f"{name} ({kind})" for name, kind in kinds.items() if kind != WRITTEN]:
        shown = ", ".join(refused[:SHOWN_TASKS]) + (", …" if len(refused) > SHOWN_TASKS else "")
        raise ParamsError(
            f"{len(refused)} of {len(kinds)} tasks need the log-probabilities of a prompt, which a server does not "
            f"give: {shown}",
            hint=f"name tasks in which the model writes ({WRITTEN}), or run these on the weights: "
            "`lm-eval run --model hf --model_args pretrained=…,peft=models/tuned`",
        )
