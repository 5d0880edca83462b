"""The API over connections that show certificates: roles and calls, and what commands say."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import typer.main
from msgspec.structs import replace

from calls.centre import Agent, Centre, Queue, Shard
from cluster.io.security import Security
from keepline.v1 import api_pb2
from node.api import ApiClient, Distrusted, Refused, Wanted, serve_api
from node.applying import still_elsewhere
from node.ask import NoCluster, cluster
from node.cli import app
from node.directory import Directory
from tests.cluster.ends import End
from tests.cluster.hosts import free_ports
from tests.cluster.papers import Papers
from tests.node.test_api import Desk

CALLS = [method.name for method in api_pb2.DESCRIPTOR.services_by_name["Api"].methods]
ALLOWED = {"node": CALLS, "operator": CALLS, "reader": ["Read"]}


@contextlib.asynccontextmanager
async def serving(*securities: Security, desk: Desk | None = None) -> AsyncIterator[list[End]]:
    reader = desk or Desk({"calls": []})
    nodes = [
        End(f"n{n}", {f"n{n}": f"127.0.0.1:{port}"}, security, lambda it: serve_api(it, reader))
        for n, (security, port) in enumerate(
            zip(securities, free_ports(len(securities)), strict=True), 1
        )
    ]
    try:
        for node in nodes:
            await node.links.start()
        yield nodes
    finally:
        for node in nodes:
            await node.links.stop()


@contextlib.asynccontextmanager
async def asking(security: Security | None = None) -> AsyncIterator[ApiClient]:
    client = ApiClient(security)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


async def code_of(channel: grpc.aio.Channel, call: str) -> tuple[grpc.StatusCode, str]:
    ask: Any = channel.unary_unary(f"/keepline.v1.Api/{call}")
    try:
        await ask(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("role", list(ALLOWED))
async def test_each_role_gets_every_call_it_is_for_and_no_other(papers: Papers, role: str) -> None:
    who = papers.secure("n2" if role == "node" else "ann", role)
    async with serving(papers.secure("n1")) as (node,):
        async with who.channel(node.peers["n1"], []) as channel:
            answers = {call: await code_of(channel, call) for call in CALLS}
        denied = {
            call: details
            for call, (code, details) in answers.items()
            if code is grpc.StatusCode.PERMISSION_DENIED
        }

        assert [call for call in CALLS if call not in denied] == ALLOWED[role]
        assert denied == {call: f"{role} ann may not ask for {call} here" for call in denied}
        assert node.links.refusals.counts[role] == len(denied)
        assert [fields["why"] for fields in node.noted("refused")] == [
            f"may not ask for {call}" for call in denied
        ]


async def test_a_refused_order_was_not_carried_out(papers: Papers) -> None:
    desk = Desk({"led": ["main"]}, agents=("1001",))
    async with (
        serving(papers.secure("n1"), desk=desk) as (node,),
        asking(papers.secure("noc", "reader")) as reader,
        asking(papers.secure("ann", "operator")) as operator,
    ):
        address = node.peers["n1"]
        for _ in range(2):
            with pytest.raises(Refused, match="reader noc may not ask for Drain here"):
                await reader.drain(address, timeout_ms=5_000)
        assert desk.asked == []
        assert await operator.drain(address, timeout_ms=5_000) == {"drained": True}
        # Told once, counted each time.
        assert node.noted("refused") == [{"who": "reader noc", "why": "may not ask for Drain"}]
        assert node.links.refusals.counts == {"reader": 2}


async def test_a_change_is_signed_by_whose_certificate_it_came_with(papers: Papers) -> None:
    wanted = Wanted(text="x", file="f", version=0, based_on=0, dry_run=False, by="somebody else")
    async with (
        serving(papers.secure("n1")) as (node,),
        asking(papers.secure("ann", "operator")) as operator,
    ):
        done = await operator.apply(node.peers["n1"], wanted, timeout_ms=5_000)

        assert done["by"] == "operator ann"


async def test_a_node_of_another_ca_is_told_by_its_name(papers: Papers, tmp_path: Path) -> None:
    stranger = Papers(tmp_path / "elsewhere")
    async with serving(papers.secure("n1"), stranger.secure("n2")) as (first, second):
        addresses = {node.name: node.peers[node.name] for node in (first, second)}
        async with asking(papers.secure("ann", "operator")) as client:
            assert await client.read_each(addresses, "calls", timeout_ms=5_000) == {
                "n1": [],
                "n2": None,
            }
            with pytest.raises(Distrusted, match="node n2: its certificate is of another CA"):
                await client.read_each({"n2": addresses["n2"]}, "calls", timeout_ms=5_000)
            with pytest.raises(Distrusted, match="node n2: its certificate is of another CA"):
                await client.first(
                    {"n2": addresses["n2"]}, lambda at: client.drain(at, timeout_ms=5_000)
                )
        async with asking(stranger.secure("eve", "operator")) as client:
            with pytest.raises(Distrusted, match="node n1: its certificate is of another CA"):
                await client.read_each({"n1": addresses["n1"]}, "calls", timeout_ms=5_000)


async def test_nobody_but_a_node_can_pretend_to_be_one(papers: Papers) -> None:
    """An operator's certificate at a node's address is no server."""
    async with (
        serving(papers.secure("ann", "operator")) as (node,),
        asking(papers.secure("bob", "operator")) as client,
    ):
        with pytest.raises(Distrusted, match="its certificate is no node's"):
            await client.read(node.peers["n1"], "calls", timeout_ms=5_000)


async def test_a_command_without_a_certificate_is_told_to_bring_one(papers: Papers) -> None:
    async with serving(papers.secure("n1")) as (node,):
        async with asking() as client:
            with pytest.raises(Distrusted, match=r"without a certificate .* \(--tls DIR\)"):
                await client.read(node.peers["n1"], "calls", timeout_ms=5_000)
        directory = Directory(papers.folder / "data")
        directory.prepare()
        known = {"name": "n1", "pid": 1, "api": node.peers["n1"], "tls": True}
        directory.write_nodes([known])
        async with cluster(directory.path, None) as found:
            with pytest.raises(NoCluster, match=r"ask for a certificate: --tls DIR or KEEPLINE_"):
                await found.status()


def test_every_command_that_finds_a_cluster_takes_a_certificate() -> None:
    options: dict[str, set[str]] = {}

    def note(path: str, command: Any) -> None:
        options[path] = {option.name for option in command.params}
        for name, below in getattr(command, "commands", {}).items():
            note(f"{path} {name}".strip(), below)

    note("", typer.main.get_command(app))
    finding = {path for path, names in options.items() if "connect" in names}

    assert {"status", "drain", "apply", "agent", "config show"} <= finding
    assert [path for path in sorted(finding) if "tls" not in options[path]] == []


async def test_a_node_asks_others_for_calls_in_the_way_of_a_change_with_its_certificate(
    papers: Papers,
) -> None:
    shards = {"north": Shard(("127.0.0.1", 1)), "south": Shard(("127.0.0.1", 2))}
    old = Centre({}, {"help": Queue("south")}, {}, shards)
    new = replace(old, agents={"1": Agent("Anna", "sip:1@127.0.0.1", ("help",))})
    desk = Desk({"agents": [{"agent": "1", "shard": "north", "epoch": 3}]})
    async with serving(papers.secure("n1"), desk=desk) as (node,):
        found = await still_elsewhere(node.peers, old, new, papers.secure("n2"))
    assert found is not None
    assert ".".join(found.path) == "agents.1.queues"
