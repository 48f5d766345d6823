"""`python -m ollamake sweep report | dashboard | serve`: a study as a page, live in the browser, for other machines."""

from pathlib import Path
from typing import Annotated

import typer

views = typer.Typer()
Study = Annotated[str | None, typer.Argument(help="name of the study; by default the newest one", show_default=False)]
Storage = Annotated[
    str | None,
    typer.Option(help="postgresql://, grpc:// or journal: for a study of several machines", show_default=False),
]


@views.command()
def report(
    study: Study = None,
    storage: Storage = None,
    out: Annotated[Path, typer.Option(help="folder of the reports, one folder a study")] = Path("logs/sweeps"),
) -> None:
    """Write one offline HTML page about the study, and its charts as PNG."""
    from ollamake.sweep.report import write_report
    from ollamake.sweep.report_data import read_results

    results = read_results(storage, study)
    typer.echo(write_report(results, out / results.study.study_name))


@views.command()
def dashboard(
    study: Study = None,
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8080,
) -> None:
    """Show the study live in the browser (optuna-dashboard), until Ctrl-C."""
    from ollamake.sweep.dashboard import show_live

    show_live(storage, study, port)


@views.command()
def serve(
    storage: Annotated[
        str | None, typer.Option(help="postgresql://; by default a file here", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in, without a password")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 13000,
) -> None:
    """Serve studies to other machines as grpc://HOST:PORT, until Ctrl-C."""
    from ollamake.sweep.dashboard import serve_storage

    serve_storage(storage, host, port)
