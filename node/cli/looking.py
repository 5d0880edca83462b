"""What is, and what happened: the commands that change nothing."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.shared import Connect, Data, Failed, Json, Tls, checked_time, put, with_cluster

commands = typer.Typer()

TABLE_ROWS = 40
"""Rows of a table when nothing else was asked; --json has no such limit."""

Call = Annotated[str, typer.Option("--call", help="Only this call: its id or its Call-ID.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="The newest so many. 0: the default.")]


@commands.command()
def status(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    wait: Annotated[
        str, typer.Option("--wait", metavar="ready", help="Wait until the cluster takes calls.")
    ] = "",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait, like 30s.")
    ] = "30s",
) -> None:
    """Nodes, shards, what may be lost next, and where every call went."""
    if wait not in ("", "ready"):
        raise typer.BadParameter("only 'ready' can be waited for", param_hint="--wait")
    timeout_ms = checked_time(timeout)

    async def read(cluster: Any) -> Any:
        return await (cluster.ready(timeout_ms) if wait else cluster.status())

    document = with_cluster(data, connect, tls, read)
    from node import show

    put(document, as_json, show.status)
    if not any(one["alive"] for one in document["nodes"]):
        raise Failed("no node answers")


@commands.command()
def calls(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The calls of this moment."""
    put_rows("calls", data, connect, tls, as_json)


@commands.command()
def queues(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The queues and who waits in them."""
    put_rows("queues", data, connect, tls, as_json)


@commands.command()
def agents(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The agents and their states."""
    put_rows("agents", data, connect, tls, as_json)


@commands.command()
def cdr(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    call: Call = "",
    limit: Limit = 0,
) -> None:
    """One record for each call that has ended."""
    put_history("cdr", data, connect, tls, as_json, call, limit)


@commands.command()
def events(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    call: Call = "",
    limit: Limit = 0,
) -> None:
    """What happened, fact by fact."""
    put_history("events", data, connect, tls, as_json, call, limit)


@commands.command()
def failovers(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    limit: Limit = 0,
) -> None:
    """Every switch of a shard to another node: why, and how long each step of it took."""
    put_history("failovers", data, connect, tls, as_json, "", limit)


@commands.command()
def trace(
    call: Annotated[str, typer.Argument(help="The id of a call, or a Call-ID.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """A call's life in order: messages, decisions, epochs."""
    document = with_cluster(data, connect, tls, lambda cluster: cluster.trace(call))
    from node import show

    put(document, as_json, show.trace)


def put_rows(
    what: str, data: Path | None, connect: str | None, tls: Path | None, as_json: bool
) -> None:
    rows = with_cluster(data, connect, tls, lambda cluster: cluster.rows(what))
    from node.show import ROWS

    put(rows, as_json, ROWS[what])


def put_history(
    what: str,
    data: Path | None,
    connect: str | None,
    tls: Path | None,
    as_json: bool,
    call: str,
    limit: int,
) -> None:
    limit = limit if limit or as_json else TABLE_ROWS
    rows = with_cluster(
        data, connect, tls, lambda cluster: cluster.history(what, call=call, limit=limit)
    )
    from node.show import ROWS

    put(rows, as_json, ROWS[what])
