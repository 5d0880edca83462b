"""What the commands have in common: the options, the way to the cluster, the way to the screen."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from node.yaml_tree import duration_ms

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="KEEPLINE_DATA", help="The cluster's data directory."),
]
Connect = Annotated[
    str | None,
    typer.Option("--connect", envvar="KEEPLINE_CONNECT", help="HOST:PORT of any node."),
]
Tls = Annotated[
    Path | None,
    typer.Option("--tls", envvar="KEEPLINE_TLS", help="The folder with your certificate."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class Failed(Exception):
    """The command was right and what it asked for did not happen."""


def with_cluster(
    data: Path | None,
    connect: str | None,
    tls: Path | None,
    ask: Callable[[Any], Awaitable[Any]],
) -> Any:
    """What `ask` finds out from the cluster."""
    if not data and not connect:
        raise typer.BadParameter(
            "which cluster? --data DIR or --connect HOST:PORT (or KEEPLINE_DATA, KEEPLINE_CONNECT)"
        )
    from node.api import Refused, Unreachable
    from node.ask import NoCluster, cluster

    security = None
    if tls:
        from cluster.io.security import Secure, files_in

        security = Secure(files_in(tls))

    async def asked() -> Any:
        async with cluster(data, connect, security) as found:
            return await ask(found)

    try:
        return asyncio.run(asked())
    except (NoCluster, Refused, Unreachable) as error:
        raise Failed(str(error)) from None


def put(document: Any, as_json: bool, shown: Callable[[Any], Any]) -> None:
    """Print a document as JSON, or as people like to see it."""
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    from node.show import console

    console().print(shown(document))


def put_text(document: Any, as_json: bool, shown: Callable[[Any], str]) -> None:
    """Print a document as JSON, or as lines of which none is wrapped."""
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json else shown(document))


def checked_time(written: str, option: str = "--timeout") -> int:
    value_ms = duration_ms(written)
    if value_ms is None:
        raise typer.BadParameter(f"{written!r} is no time like 30s", param_hint=option)
    return value_ms


def complain(what: str, status: int) -> int:
    """One line on stderr, and the exit status."""
    print("keepline:", " ".join(what.split("\n")), file=sys.stderr)
    return status
