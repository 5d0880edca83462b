"""`keepline gateway`: gateways and their E1 lines."""

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import profiles
from node.cli.shared import (
    Connect,
    Data,
    Failed,
    Json,
    Tls,
    checked_time,
    put,
    with_cluster,
)

if TYPE_CHECKING:
    from node.ask_gateways import Gateways

app = typer.Typer(help="Gateways and their E1 lines.", no_args_is_help=True)
app.add_typer(profiles.app, name="profile")

Note = Annotated[str, typer.Option("--note", help="Why, in a line.")]


@app.callback()
def gateway() -> None:
    """Gateways and their E1 lines."""


@app.command(name="list")
def list_gateways(
    site: Annotated[str, typer.Option("--site", help="Only those of this site.")] = "",
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """All that is watched, the worst first."""
    rows = asked(data, connect, tls, lambda gateways: gateways.rows())
    if site:
        known = sorted({row["site"] for row in rows})
        rows = [row for row in rows if row["site"] == site]
        if not rows:
            raise Failed(f"no gateway of site {site!r} is watched; sites: {', '.join(known)}")
    from node import show_gateways

    put(rows, as_json, show_gateways.gateways(wall_ms()))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="GATEWAY", help="The gateway's name.")],
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """All that is known of one: alarms, lines, time slots, errors, ports."""
    row = asked(data, connect, tls, lambda gateways: gateways.row(name))
    from node import show_gateways

    put(row, as_json, show_gateways.gateway(wall_ms()))


@app.command()
def alarms(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    history: Annotated[
        int, typer.Option("--history", min=0, max=5_000, help="And the newest lines of history.")
    ] = 0,
) -> None:
    """What is wrong, the worst first; maintenance; who was not told yet."""
    document = asked(data, connect, tls, lambda gateways: gateways.alarms(history))
    from node import show_alarms

    put(document, as_json, show_alarms.alarms(wall_ms()))


@app.command()
def ack(
    alarm: Annotated[str, typer.Argument(metavar="ALARM", help="Its id, or like los@tg1/3.")],
    note: Note = "",
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Say that you take care of an alarm. It stands as before."""
    document = asked(data, connect, tls, lambda gateways: gateways.acknowledge(alarm, note))
    put(document, as_json, lambda it: f"{it['name']} is taken care of by {it['by']}")


@app.command()
def maintenance(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A gateway, tg1/3 (a span), tg1/3/17 or trunk:NAME."),
    ] = "",
    lasts: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long from now, like 2h.")
    ] = "",
    end: Annotated[str, typer.Option("--end", metavar="ID", help="That one is over.")] = "",
    note: Note = "",
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
) -> None:
    """Let alarms of an object and its parts wait for a time; or end that."""
    if end:
        if path or lasts or note:
            raise typer.BadParameter("--end ID stands alone")
        document = asked(data, connect, tls, lambda gateways: gateways.end_window(end))
        put(document, as_json, lambda it: f"maintenance {it['id']} is over")
        return
    if not path or not lasts:
        raise typer.BadParameter("PATH and --for TIME are needed, or --end ID")
    from node.gateways_api import check_window

    for_ms = checked_time(lasts, "--for")
    now_ms = wall_ms()
    from node.api import Refused

    try:
        check_window(path, now_ms, now_ms + for_ms)
    except Refused as refused:
        raise typer.BadParameter(str(refused)) from None
    window = asked(data, connect, tls, lambda gateways: gateways.set_window(path, for_ms, note))
    put(window, as_json, set_in_words)


def set_in_words(window: dict[str, Any]) -> str:
    from node.show_alarms import day_and_minute

    until = day_and_minute(window["until_at"])
    return (
        f"maintenance {window['id']} of {window['path']} until {until} UTC; "
        f"keepline gateway maintenance --end {window['id']} ends it"
    )


@app.command()
def trunks(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """What call routing may use of each trunk, and why not all."""
    document = asked(data, connect, tls, lambda gateways: gateways.alarms(0))
    from node import show_gateways

    put(document["trunks"], as_json, show_gateways.trunks)


@app.command()
def watch(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    once: Annotated[bool, typer.Option("--once", help="One picture, then end.")] = False,
) -> None:
    """A live board: every gateway, its E1 lines slot by slot, the alarms. q ends it.

    With --json each change is a line, for ever.
    """
    from node import gateway_watch

    if once:
        asked(data, connect, tls, lambda it: gateway_watch.once(it, as_json=as_json))
    elif as_json:
        asked(data, connect, tls, gateway_watch.lines)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        asked(data, connect, tls, gateway_watch.live)
    else:
        raise typer.BadParameter("the board needs a terminal; --once or --json needs none")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
    add_help_option=False,
)
def simulate(context: typer.Context) -> None:
    """Virtual gateways with E1 lines. See gateway simulate --help."""
    from loadtest.io.gateway_command import main

    raise typer.Exit(main(context.args))


def asked(
    data: Path | None,
    connect: str | None,
    tls: Path | None,
    ask: Callable[["Gateways"], Awaitable[Any]],
) -> Any:
    """What `ask` finds out from all gateways of the cluster."""
    from node.ask_gateways import Gateways

    return with_cluster(data, connect, tls, lambda cluster: ask(Gateways(cluster)))


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
