"""`python -m ollamake models`: the catalog of base models, one of them in full, and which to take."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from ollamake.plan.machine import Machine

Task = Literal["chat", "instruct", "code", "math", "summarize", "rewrite", "tools"]
Format = Literal["safetensors", "gguf", "wheel"]
Licence = Literal["any", "commercial", "permissive"]
Method = Literal["lora", "qlora", "full"]
Memory = Annotated[str | None, typer.Option(help="such as 16GB: the GPU's, or the machine's; here by default")]
Gpu = Annotated[bool | None, typer.Option("--gpu/--cpu", help="what trains; as here by default", show_default=False)]
UNITS = {"": 1e9, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "MIB": 2**20, "GIB": 2**30, "TB": 1e12}

models = typer.Typer(no_args_is_help=True, help="Choose a base model: what there is, what it takes, what fits.")


@models.command("list")
def list_(memory: Memory = None, gpu: Gpu = None) -> None:
    """List the base models of models/catalog.yaml: size, licence, memory for training, what fits this machine."""
    from rich.console import Console

    from ollamake.catalog.cards import read_models
    from ollamake.catalog.show import show_list

    show_list(read_models(), _machine(memory, gpu), _content(), Console(highlight=False))


@models.command()
def show(name: Annotated[str, typer.Argument(help="a name of the catalog, or a hub id of it")]) -> None:
    """Show all that is known of a base model, with the sources, and the parameters to set."""
    from rich.console import Console

    from ollamake.catalog.cards import find_model, read_models
    from ollamake.catalog.show import describe

    describe(find_model(name, read_models()), _machine(None, None), _content(), Console(highlight=False))


@models.command()
def recommend(
    task: Annotated[Task | None, typer.Option(help="what it is to be good at, by its authors' word")] = None,
    memory: Memory = None,
    licence: Annotated[Licence, typer.Option(help="permissive: free for any use, such as Apache 2.0 and MIT")] = "any",
    language: Annotated[str | None, typer.Option(help="two letters, such as de")] = None,
    context: Annotated[int, typer.Option(min=0, help="the least number of tokens that it has to take in")] = 0,
    form: Annotated[Format | None, typer.Option("--format", help="how it has to come")] = None,
    method: Annotated[Method | None, typer.Option(help="lora where it fits, else qlora")] = None,
    gpu: Gpu = None,
    count: Annotated[int, typer.Option(min=1, help="how many to show")] = 3,
) -> None:
    """Recommend base models for a task, a memory, a licence, a language, a context and a format, with reasons.

    The best is the largest that fits; on a CPU, those that would take hours come last.
    """
    from rich.console import Console

    from ollamake.catalog.cards import read_models
    from ollamake.catalog.choice import Wish, choose
    from ollamake.catalog.show import show_ranking

    if language and not re.fullmatch("[a-z]{2}", language):
        raise typer.BadParameter("two letters of ISO 639-1, such as de or zh", param_hint="--language")
    wish = Wish(task, licence, language, context, form, method)
    content = _content()
    candidates = choose(read_models(), wish, _machine(memory, gpu), content)
    show_ranking(candidates, content, count, Console(highlight=False))


def parse_memory(text: str) -> int:
    """Return the bytes that `16GB`, `16`, `24GiB` or `800 MB` mean. Raises typer.BadParameter."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in UNITS:
        raise typer.BadParameter(f"{text!r} is no size; write 16GB", param_hint="--memory")
    return round(float(match[1]) * UNITS[match[2].upper()])


def _machine(memory: str | None, gpu: bool | None) -> "Machine":
    """Return this machine, or another one as the options describe it."""
    from ollamake.plan.machine import Machine, this_machine

    here = this_machine()
    if memory is None and (gpu is None or gpu == bool(here.gpu)):
        return here
    size = parse_memory(memory) if memory else here.memory_bytes
    on_gpu = bool(here.gpu) if gpu is None else gpu
    return Machine("a GPU" if on_gpu else "", size, size, bf16=True if on_gpu else here.bf16)


def _content() -> Any:
    from ollamake import params

    content = params.read()
    params.check(content)
    return content
