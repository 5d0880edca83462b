"""Orders to a cluster that runs, about its centre, nodes, shards and agents."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.shared import (
    Connect,
    Data,
    Failed,
    Json,
    Tls,
    checked_time,
    complain,
    put,
    put_text,
    with_cluster,
)

commands = typer.Typer()

config = typer.Typer(help="The versions of the centre.", no_args_is_help=True)
commands.add_typer(config, name="config")

File = Annotated[Path | None, typer.Option("--file", "-f", help="The centre's YAML file.")]
BasedOn = Annotated[
    int,
    typer.Option("--based-on", min=0, help="Refuse it where another version stands. 0: any."),
]


@commands.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's name.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long it may take.")
    ] = "10s",
) -> None:
    """Keep a node from leading shards, with no call lost; then it may be switched off."""
    timeout_ms = checked_time(timeout)
    document = with_cluster(data, connect, tls, lambda cluster: cluster.drain(name, timeout_ms))
    from node import show

    put(document, as_json, show.drained)


@commands.command()
def undrain(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's name.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Let a node that drains take part again."""
    document = with_cluster(data, connect, tls, lambda cluster: cluster.undrain(name))
    put(document, as_json, lambda _: f"{name} drains no more")


@commands.command()
def forget(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's name.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Miss a node no more that is gone for good."""
    document = with_cluster(data, connect, tls, lambda cluster: cluster.forget(name))
    put(document, as_json, lambda _: f"{name} is forgotten")


@commands.command()
def switchover(
    name: Annotated[str, typer.Argument(metavar="SHARD", help="The shard's name.")],
    to: Annotated[
        str, typer.Option("--to", metavar="NODE", help="The best node in sync, if left out.")
    ] = "",
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Hand one shard to another node, with every call."""
    document = with_cluster(data, connect, tls, lambda cluster: cluster.switchover(name, to))
    from node import show

    put(document, as_json, show.switched)


@commands.command()
def promote(
    shard: Annotated[str, typer.Argument(metavar="SHARD", help="The shard that nobody leads.")],
    source: Annotated[str, typer.Option("--from", metavar="NODE", help="Whose records.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
) -> None:
    """Go on with one node's records of a shard, when all who held everything are gone."""

    def ask(*, yes: bool, read: str = "") -> Any:
        return with_cluster(
            data, connect, tls, lambda cluster: cluster.promote(shard, source, yes=yes, read=read)
        )

    document = ask(yes=False)
    if not as_json:
        for line in document["statement"]:
            typer.echo(line)
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise Failed("nothing was done; say --yes to do it")
        typer.confirm("Go on with that?", abort=True)
    document = ask(yes=True, read=document["offer"])
    put(document, as_json, lambda _: f"shard {shard} is led by {source}")


@commands.command()
def agent(
    name: Annotated[str, typer.Argument(metavar="ID", help="The agent.")],
    state: Annotated[str, typer.Argument(metavar="ready|not_ready|signed_out")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a word.")] = "",
) -> None:
    """Bring an agent into a state."""
    if state not in ("ready", "not_ready", "signed_out"):
        raise typer.BadParameter(f"{state!r} is not ready, not_ready or signed_out")
    document = with_cluster(
        data, connect, tls, lambda cluster: cluster.set_agent(name, state, reason)
    )
    put(document, as_json, lambda _: f"agent {name} is {state}")


@commands.command()
def apply(
    file: File = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Back to what this version was.")
    ] = None,
    based_on: BasedOn = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Change the centre of a running cluster, live; all of it or nothing."""
    from node.ask import wanted_change

    if (file is None) == (version is None):
        raise typer.BadParameter("-f CENTRE.yaml or --version N is needed")
    wanted = wanted_change(file, version or 0, based_on, dry_run=dry_run)
    document = with_cluster(data, connect, tls, lambda cluster: cluster.apply(wanted))
    from node import show

    put_text(document | {"dry_run": dry_run}, as_json, show.applied)


@commands.command()
def diff(
    file: File = None,
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """What applying a file would change. Exit status: 0 nothing, 1 something, 2 it cannot be."""
    from node.ask import wanted_change

    if file is None:
        raise typer.BadParameter("-f CENTRE.yaml is needed")
    wanted = wanted_change(file, 0, 0, dry_run=True)
    try:
        document = with_cluster(data, connect, tls, lambda cluster: cluster.apply(wanted))
    except Failed as error:
        raise typer.Exit(complain(str(error), 2)) from None
    from node import show

    put_text({name: document[name] for name in ("version", "changes")}, as_json, show.differing)
    raise typer.Exit(1 if document["changes"] else 0)


@config.command(name="show")
def config_show(
    version: Annotated[
        int, typer.Option("--version", min=0, help="This one; 0: the one that stands.")
    ] = 0,
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """A version of the centre, as a file that keepline apply takes."""
    document = with_cluster(data, connect, tls, lambda cluster: cluster.config(version))
    from node import show

    put_text(document, as_json, show.centre)


@config.command(name="history")
def config_history(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The versions of the centre: who made them, when, and how much each changed."""
    rows = with_cluster(data, connect, tls, lambda cluster: cluster.config_history())
    from node import show

    put(rows, as_json, show.versions)
