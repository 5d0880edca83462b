"""The command line. Results go to stdout; what went wrong is one line on stderr.

Exit status: 0 done, 1 it failed (no answer, refused, calls lost), 2 wrongly asked or configured.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.identity import NotSecure
from cluster.io.journal import MODES, TAILS
from node import cert_cli
from node.config import NAME, ConfigError, sip_address
from node.directory import DirectoryError
from node.options import NodeOptions, tls_files
from node.store_options import StoreOptionError, StoreOptions, parse_store
from node.yaml_tree import duration_ms

app = typer.Typer(
    name="keepline",
    help="A call-centre cluster that does not drop calls.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

config = typer.Typer(help="The versions of the centre.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(cert_cli.app, name="cert")

TABLE_ROWS = 40
"""Rows of a table when nothing else was asked; --json has no such limit."""

Centre = Annotated[Path, typer.Option("--centre", "-c", help="The centre's YAML file.")]
Directory = Annotated[Path, typer.Option("--data", help="The cluster's data directory.")]
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
Call = Annotated[str, typer.Option("--call", help="Only this call: its id or its Call-ID.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="The newest so many. 0: the default.")]
Steady = Annotated[
    str,
    typer.Option("--steady", metavar="TIME", help="Before a node that came back leads again."),
]
File = Annotated[Path | None, typer.Option("--file", "-f", help="The centre's YAML file.")]
BasedOn = Annotated[
    int,
    typer.Option("--based-on", min=0, help="Refuse it where another version stands. 0: any."),
]
Site = Annotated[str, typer.Option("--site", help="The name of this place.")]
Journal = Annotated[
    str,
    typer.Option(
        "--journal",
        metavar="async|sync|off",
        envvar="KEEPLINE_JOURNAL",
        help="What a node keeps on its disk of its shards, for when every copy dies.",
    ),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="sqlite|etcd://HOST:PORT,.../PREFIX|zookeeper://...",
        help="Where it is agreed who is active.",
    ),
]
StoreUser = Annotated[str, typer.Option("--store-user", metavar="NAME", help="The store's user.")]
StorePassword = Annotated[
    str,
    typer.Option("--store-password", metavar="env:NAME|file:PATH", help="Where the password is."),
]
StoreCa = Annotated[
    Path | None, typer.Option("--store-ca", help="PEM file: the store's CA. Turns TLS on.")
]
StoreCert = Annotated[
    Path | None, typer.Option("--store-cert", help="PEM file: our certificate for the store.")
]
StoreKey = Annotated[Path | None, typer.Option("--store-key", help="PEM file: its key.")]


@app.command()
def up(
    centre: Centre,
    data: Annotated[
        Path,
        typer.Option("--data", envvar="KEEPLINE_DATA", help="Where the cluster keeps its files."),
    ],
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=9, help="How many nodes.")] = 3,
    media_ports: Annotated[
        str, typer.Option("--media-ports", metavar="A-B", help="UDP ports for audio.")
    ] = "10000-19999",
    sounds: Annotated[
        Path | None, typer.Option("--sounds", help="A folder with WAV files of your own.")
    ] = None,
    site: Site = "",
    steady: Steady = "30s",
    tls: Annotated[
        Path | None,
        typer.Option("--tls", help="The folder of keepline cert, with certificates of n1, n2, …"),
    ] = None,
    journal: Journal = "async",
    store: StoreUrl = "sqlite",
    store_user: StoreUser = "",
    store_password: StorePassword = "",
    store_ca: StoreCa = None,
    store_cert: StoreCert = None,
    store_key: StoreKey = None,
    drill: Annotated[
        Path | None, typer.Option("--drill", hidden=True, help="See node/drill.py.")
    ] = None,
) -> None:
    """Run a cluster on this machine, in the foreground. Ctrl-C stops it in order."""
    from node.drill import read_drill
    from node.up import plan, run

    if sounds and not sounds.is_dir():
        raise typer.BadParameter(f"{sounds} is no folder", param_hint="--sounds")
    ports = checked_ports(media_ports)
    chosen = checked_store(store, store_user, store_password, store_ca, store_cert, store_key)
    made = plan(
        centre, data, nodes, media_ports=ports, sounds=sounds, site=site, tls=tls, store=chosen
    )
    made.journal = checked_journal(journal)
    made.steady_ms = checked_time(steady, "--steady")
    if drill is not None:
        made.drill = read_drill(drill)
    raise typer.Exit(run(made))


@app.command()
def node(
    name: Annotated[str, typer.Option("--name", help="This node's name.")],
    data: Directory,
    listen: Annotated[
        str, typer.Option("--listen", metavar="IP:PORT", help="Where link and API listen.")
    ],
    centre: Annotated[
        Path | None, typer.Option("--centre", "-c", help="To begin with, if the store has none.")
    ] = None,
    peers: Annotated[
        str,
        typer.Option(
            "--peers", metavar="NAME=IP:PORT,...", help="Nodes that are missed if they are not up."
        ),
    ] = "",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", min=0, max=65_535, help="Of /metrics; 0: any.")
    ] = 0,
    site: Site = "",
    steady: Steady = "30s",
    tls: Annotated[
        Path | None,
        typer.Option("--tls", help="The folder with ca.crt, tls.crt and tls.key of this node."),
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="Instead: the CA's file,")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="the certificate's,")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="and its key's.")] = None,
    journal: Journal = "async",
    tails: Annotated[
        Path, typer.Option("--tails", envvar="KEEPLINE_TAILS", help="A folder in memory.")
    ] = TAILS,
    store: StoreUrl = "sqlite",
    store_user: StoreUser = "",
    store_password: StorePassword = "",
    store_ca: StoreCa = None,
    store_cert: StoreCert = None,
    store_key: StoreKey = None,
    clock_jump: Annotated[
        int, typer.Option("--clock-jump", hidden=True, help="See node/drill.py.")
    ] = 0,
) -> None:
    """Run one node in the foreground."""
    known = checked_peers(peers)
    if known.setdefault(name, listen) != listen:
        raise typer.BadParameter(f"{name} is at {known[name]} there", param_hint="--peers")
    if not NAME.fullmatch(name) or sip_address(listen) is None:
        raise typer.BadParameter("--name NAME and --listen IP:PORT are needed")
    options = NodeOptions(
        name=name,
        data=data,
        centre=centre,
        peers=known,
        metrics_port=metrics_port,
        site=site,
        steady_ms=checked_time(steady, "--steady"),
        tls=tls_files(tls, tls_ca, tls_cert, tls_key),
        journal=checked_journal(journal),
        tails=tails,
        store=checked_store(store, store_user, store_password, store_ca, store_cert, store_key),
        clock_jump_ms=clock_jump,
    )
    import uvloop

    from node.run import run_node

    # Half of what asyncio's own loop costs a call: it turns for nearly every datagram.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_node(options))


@app.command()
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


@app.command()
def calls(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The calls of this moment."""
    put_rows("calls", data, connect, tls, as_json)


@app.command()
def queues(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The queues and who waits in them."""
    put_rows("queues", data, connect, tls, as_json)


@app.command()
def agents(
    data: Data = None, connect: Connect = None, tls: Tls = None, as_json: Json = False
) -> None:
    """The agents and their states."""
    put_rows("agents", data, connect, tls, as_json)


@app.command()
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


@app.command()
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


@app.command()
def failovers(
    data: Data = None,
    connect: Connect = None,
    tls: Tls = None,
    as_json: Json = False,
    limit: Limit = 0,
) -> None:
    """Every switch of a shard to another node: why, and how long each step of it took."""
    put_history("failovers", data, connect, tls, as_json, "", limit)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def demo(
    calls: Annotated[int, typer.Option("--calls", min=2, max=2_000, help="How many call.")] = 60,
    agents: Annotated[int, typer.Option("--agents", min=2, max=500, help="How many answer.")] = 20,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=9, help="How many nodes.")] = 3,
    fault: Annotated[
        str, typer.Option("--fault", metavar="kill|stop|none", help="What hits the active node.")
    ] = "kill",
    seed: Annotated[int, typer.Option("--seed", help="The same seed: the same people.")] = 1,
    as_json: Json = False,
) -> None:
    """See it: a cluster, people who call it, a fault, and what their phones say."""
    from node import demo as demos
    from node.demo_view import View, verdict_lines
    from node.outcome import Options, as_document
    from node.show import console

    if fault not in demos.FAULTS:
        raise typer.BadParameter(f"{fault!r} is not kill, stop or none", param_hint="--fault")
    if calls < agents:
        raise typer.BadParameter(
            f"{calls} calls keep no {agents} agents busy", param_hint="--calls"
        )
    asked = Options(calls=calls, agents=agents, nodes=nodes, fault=fault, seed=seed)
    try:
        outcome = demos.run(asked, View(None if as_json else console()))
    except demos.DemoFailed as error:
        raise Failed(str(error)) from None
    if as_json:
        typer.echo(json.dumps(as_document(asked, outcome)))
    else:
        console().print(verdict_lines(outcome, fault))
    raise typer.Exit(0 if outcome.is_ok else 1)


@app.command()
def chaos(
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="FAULT", help="One, or several of these; all: each."),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1_000, help="Of each fault.")] = 5,
    store: Annotated[str, typer.Option("--store", help="The coordination store.")] = "sqlite",
    nodes: Annotated[int, typer.Option("--nodes", min=2, max=9, help="How many nodes.")] = 3,
    calls: Annotated[int, typer.Option("--calls", min=60, max=1_000, help="How many call.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="The same seed: the same people.")] = 1,
    matrix: Annotated[
        Path | None, typer.Option("--matrix", help="Write what survived into this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Faults on real processes, many times over: how long nobody answered, and what was lost."""
    from node.chaos import command

    try:
        status = command.chaos(
            fault or ["kill"],
            runs=runs,
            store=store,
            nodes=nodes,
            calls=calls,
            seed=seed,
            matrix=matrix,
            as_json=as_json,
        )
    except command.ChaosFailed as error:
        raise Failed(str(error)) from None
    raise typer.Exit(status)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
    add_help_option=False,
)
def loadtest(context: typer.Context) -> None:
    """Simulated callers and agents; also against other systems. See loadtest --help."""
    from loadtest.io.command import main as simulate

    raise typer.Exit(simulate(context.args))


@app.command(name="version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("keepline"))


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


def checked_time(written: str, option: str = "--timeout") -> int:
    value_ms = duration_ms(written)
    if value_ms is None:
        raise typer.BadParameter(f"{written!r} is no time like 30s", param_hint=option)
    return value_ms


def checked_journal(written: str) -> str:
    if written not in MODES:
        raise typer.BadParameter(f"{written!r} is not {', '.join(MODES)}", param_hint="--journal")
    return written


def checked_ports(written: str) -> tuple[int, int]:
    first, dash, last = written.partition("-")
    is_range = dash and first.isdecimal() and last.isdecimal()
    if not is_range or not 1_024 <= int(first) < int(last) <= 65_535:
        raise typer.BadParameter(
            f"{written!r} is no range of ports like 10000-19999", param_hint="--media-ports"
        )
    return int(first), int(last)


def checked_store(
    url: str, user: str, password: str, ca: Path | None, cert: Path | None, key: Path | None
) -> StoreOptions:
    try:
        return parse_store(url, user=user, password=password, ca=ca, cert=cert, key=key)
    except StoreOptionError as error:
        raise typer.BadParameter(error.why, param_hint=error.option) from None


def checked_peers(written: str) -> dict[str, str]:
    peers: dict[str, str] = {}
    for peer in filter(None, written.split(",")):
        name, _, address = peer.partition("=")
        if not NAME.fullmatch(name) or sip_address(address) is None or name in peers:
            raise typer.BadParameter(f"{peer!r} is no NAME=IP:PORT", param_hint="--peers")
        peers[name] = address
    return peers


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command and answer its exit status."""
    from node.first_centre import StartError

    try:
        done = app(words or ["--help"], prog_name="keepline", standalone_mode=False)
    except typer.TyperException as error:  # wrongly asked
        return complain(error.format_message(), 2)
    except (ConfigError, DirectoryError, NotSecure, StartError) as error:
        return complain(str(error), 2)
    except Failed as error:
        return complain(str(error), 1)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 1
    return done if isinstance(done, int) else 0


def complain(what: str, status: int) -> int:
    """One line on stderr, and the exit status."""
    print("keepline:", " ".join(what.split("\n")), file=sys.stderr)
    return status
