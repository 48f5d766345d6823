"""`python -m ollamake release`: what was built becomes a version that can be found, served and left again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ollamake.errors import ServerError

if TYPE_CHECKING:
    from ollamake.release.channels import TagServer
    from ollamake.release.record import Record

Keep = Annotated[int, typer.Option(min=1, help="releases that stay in the server, beside those that a channel names")]
Commit = Annotated[bool, typer.Option("--commit/--no-commit", help="commit the records; or print the git commands")]
release = typer.Typer(no_args_is_help=True, help="Releases in Ollama: made, moved to prod, taken back, traced.")


@release.command()
def create(
    version: Annotated[str | None, typer.Argument(help="such as 1.2.0; counted up if left out")] = None,
    bump: Annotated[Literal["major", "minor", "patch"], typer.Option(help="which number counts up")] = "minor",
    keep: Keep = 5,
    commit: Commit = True,
) -> None:
    """Make a release of what the last build proved and served; the channel candidate names it."""
    from ollamake.release import create as creation
    from ollamake.release import repository
    from ollamake.release.notes import notes
    from ollamake.release.record import predecessor
    from ollamake.release.session import changing

    if commit:
        repository.require_identity()
    with changing() as server:
        made = creation.create(server, version, bump)
        typer.echo(f"{made.name} {made.version} is {made.tag}, and {made.name}:candidate names it")
        text = notes(made, predecessor(made))
        _record(f"Release {made.name} {made.version}", commit=commit, tag=made.git_tag, notes=text)
        _prune(server, keep, made)
    typer.echo("then `git push --follow-tags && dvc push`, and `python -m ollamake release promote` for prod")


@release.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="such as 1.2.0; the candidate if left out")] = None,
    commit: Commit = True,
) -> None:
    """Prove a release again, and let prod name it; prod-previous names what prod named before."""
    from ollamake.release import promote as promotion
    from ollamake.release import repository
    from ollamake.release.session import changing

    if commit:
        repository.require_identity()
    with changing() as server:
        promoted = promotion.promote(server, version)
    typer.echo(f"{promoted.name}:prod is {promoted.version} now: ollama run {promoted.name}:prod")
    _record(f"Promote {promoted.name} {promoted.version} to prod", commit=commit)


@release.command()
def rollback(commit: Commit = True) -> None:
    """Let prod name what it named before; once more undoes that."""
    from ollamake.release import repository
    from ollamake.release.promote import roll_back
    from ollamake.release.session import changing

    if commit:
        repository.require_identity()
    with changing() as server:
        back, gone = roll_back(server)
    typer.echo(f"{back.name}:prod is {back.version} again; prod-previous is {gone.version}")
    _record(f"Roll {back.name} back from {gone.version} to {back.version}", commit=commit)


@release.command()
def deploy(
    version: Annotated[str | None, typer.Argument(help="such as 1.2.0; that of prod if left out")] = None,
    keep: Keep = 5,
) -> None:
    """Bring a recorded release into the server of this machine, prove it there, and let its channels name it."""
    from ollamake.release import deploy as deployment
    from ollamake.release.channels import read_channels
    from ollamake.release.session import changing

    with changing() as server:
        deployed, checks = deployment.deploy(server, version)
        _prune(server, keep, deployed)
    named = [channel for channel, known in read_channels().items() if known == deployed.version]
    tags = ", ".join([deployed.tag, *(f"{deployed.name}:{channel}" for channel in named)])
    typer.echo(f"{deployed.name} {deployed.version} is served as {tags}; proved there:")
    for check, count in checks.items():
        typer.echo(f"  {check}: {count}")


@release.command("list")
def list_() -> None:
    """List all releases, the newest first, with what the channels name here and in the files."""
    from rich.console import Console

    from ollamake.release.record import read_records
    from ollamake.release.show import show_list

    show_list(read_records(), _digests(), Console(highlight=False))


@release.command()
def diff(
    old: Annotated[str, typer.Argument(help="a release, by anything that `whence` takes")],
    new: Annotated[str, typer.Argument(help="another one")],
) -> None:
    """Show what changed from one release to another: data, parameters, model, scores."""
    from ollamake.release.notes import differences
    from ollamake.release.whence import find

    digests = _digests() or {}
    typer.echo(differences(find(old, digests), find(new, digests)))


@release.command()
def notes(
    version: Annotated[str | None, typer.Argument(help="a release; the newest if left out")] = None,
    since: Annotated[str | None, typer.Option(help="the release to compare with; the one before if left out")] = None,
) -> None:
    """Write the notes of a release as Markdown: what changed in data, parameters and scores since the last."""
    from ollamake.release.notes import notes as written
    from ollamake.release.record import newest, predecessor
    from ollamake.release.whence import find

    new = find(version, {}) if version else newest()
    typer.echo(written(new, find(since, {}) if since else predecessor(new)))


@release.command()
def whence(
    what: Annotated[
        str, typer.Argument(help="a digest or its first digits, a tag of Ollama or git, a channel, a version")
    ],
) -> None:
    """Tell where a served model comes from: git commit, data, parameters, scores."""
    from ollamake.release.show import describe
    from ollamake.release.whence import find

    typer.echo(describe(find(what, _digests() or {})))


def _digests() -> Mapping[str, str] | None:
    """Return the tags of the server at hand; None where there is none, for the commands that can do without."""
    from ollamake.ollama.address import server_address, why_silent
    from ollamake.release.session import reading

    if why_silent(server_address()):
        return None
    with reading() as server:
        return server.digests()


def _prune(server: "TagServer", keep: int, besides: "Record") -> None:
    """Let old releases leave the server. Where that fails, the command has done its work: it says so and goes on."""
    from ollamake.release.prune import prune

    try:
        for gone in prune(server, keep, besides):
            typer.echo(f"{gone.tag} left the server; `release deploy {gone.version}` brings it back", err=True)
    except ServerError as error:
        typer.echo(f"warning: older releases stay in the server: {error.problem}", err=True)
        typer.echo(f"`python -m ollamake release deploy {besides.version}` tries that again", err=True)


def _record(message: str, *, commit: bool, tag: str = "", notes: str = "") -> None:
    """Commit the records and tag the commit, or say how."""
    from ollamake.release import repository

    if commit:
        repository.commit_records(message, tag, notes)
        typer.echo(f"committed{f' and tagged {tag}' if tag else ''}: {message}")
    else:
        typer.echo(f"not committed yet: {repository.commands(message, tag)}")
