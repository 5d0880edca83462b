"""`keepline up` and `keepline node`: what runs a cluster."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cluster.io.journal import MODES, TAILS
from node.cli.shared import (
    checked_time,
)
from node.config import NAME, sip_address
from node.options import NodeOptions, tls_files
from node.store_options import StoreOptionError, StoreOptions, parse_store

commands = typer.Typer()

Centre = Annotated[Path, typer.Option("--centre", "-c", help="The centre's YAML file.")]
Steady = Annotated[
    str,
    typer.Option("--steady", metavar="TIME", help="Before a node that came back leads again."),
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
Directory = Annotated[Path, typer.Option("--data", help="The cluster's data directory.")]


@commands.command()
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


@commands.command()
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
