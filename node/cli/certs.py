"""`keepline cert`: a small CA for a start."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Certificates for nodes, operators and readers.")

Dir = Annotated[Path, typer.Option("--dir", help="The folder of the CA and its certificates.")]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="NAME[=IP],...", help="Nodes; may be given again."),
]
Operators = Annotated[
    list[str] | None,
    typer.Option("--operator", metavar="NAME,...", help="Who may look and give orders."),
]
Readers = Annotated[
    list[str] | None, typer.Option("--reader", metavar="NAME,...", help="Who may only look.")
]
Days = Annotated[int, typer.Option("--days", min=1, max=3_650, help="How long they are valid.")]
DAYS = 365


@app.command()
def init(
    dir: Dir,
    node: Nodes = None,
    operator: Operators = None,
    reader: Readers = None,
    days: Days = DAYS,
) -> None:
    """Make a CA, and certificates by it. Writes over nothing."""
    from node import certificates

    wanted = all_wanted(node, operator, reader)
    certificates.create(dir, wanted, timedelta(days=days))
    typer.echo(f"{dir / certificates.CA_FOLDER}: keep its key where no node runs")
    for one in wanted:
        typer.echo(f"{dir / one.holder.name}: {one.holder}")


@app.command()
def add(
    dir: Dir,
    node: Nodes = None,
    operator: Operators = None,
    reader: Readers = None,
    days: Days = DAYS,
) -> None:
    """Make more certificates by the CA that is there. Writes over nothing."""
    from node import certificates

    wanted = all_wanted(node, operator, reader)
    certificates.add(dir, wanted, timedelta(days=days))
    for one in wanted:
        typer.echo(f"{dir / one.holder.name}: {one.holder}")


@app.command()
def renew(
    dir: Dir,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Whose; all, if left out.")
    ] = None,
    days: Days = DAYS,
) -> None:
    """Make new certificates for the keys that are there. Nodes take a new file up as they run."""
    from node import certificates

    for holder in certificates.renew(dir, names or [], timedelta(days=days)):
        typer.echo(f"{dir / holder.name}: {holder}")


@app.command()
def show(
    dir: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of all, or of one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Who, in which role, until when."""
    from node import certificates
    from node.cli.shared import put
    from node.show import holders

    put(certificates.shown(dir, datetime.now(UTC)), as_json, holders)


def all_wanted(
    nodes: list[str] | None, operators: list[str] | None, readers: list[str] | None
) -> list[Any]:
    from node.certificates import wanted_of

    lists = (("node", nodes), ("operator", operators), ("reader", readers))
    found = [
        wanted_of(role, written)
        for role, given in lists
        for words in given or ()
        for written in filter(None, words.split(","))
    ]
    if not found:
        raise typer.BadParameter("for whom? --node NAME, --operator NAME or --reader NAME")
    return found
