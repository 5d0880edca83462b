"""Nodes follow the centre in the store: what changes it, and what they do when it changes."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calls import view
from calls.centre import Agent, Centre, Queue, Shard
from cluster.process import shard_key
from cluster.store import decode_key
from node import configuration
from node.api import Refused, Wanted
from node.applying import still_elsewhere
from node.node import Node
from tests.cluster.hosts import until
from tests.node.nodes import Nodes, nodes
from tests.node.running import free_udp_port
from tests.node.test_api import Desk, serving

KEY = configuration.KEY


def centre(
    main: int, *, south: int = 0, wrap_up: str = "5s", numbers: str = '"4001": {queue: support}'
) -> str:
    """A file with one shard at this port of loopback, or two."""
    more = f', south: {{sip: "127.0.0.1:{south}"}}' if south else ""
    sales = ", sales: {shard: south}" if south else ""
    return (
        f'shards: {{main: {{sip: "127.0.0.1:{main}"}}{more}}}\n'
        f"numbers: {{{numbers}}}\n"
        f"queues: {{support: {{shard: main, wrap_up: {wrap_up}}}{sales}}}\n"
        'agents: {"1001": {phone: "sip:1001@127.0.0.1:9", queues: [support]}}\n'
    )


def asked(text: str = "", **more: Any) -> Wanted:
    plain = Wanted(text, "new.yaml" if text else "", 0, 0, dry_run=False, by="anna@desk")
    return plain._replace(**more)


async def applied(node: Node, wanted: Wanted) -> Any:
    """The document as it travels."""
    return msgspec.json.decode(msgspec.json.encode(await node.apply(wanted)))


def port_of(together: Nodes) -> int:
    return int(together.first.shards["main"].sip[1])


def is_bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def in_force(together: Nodes, version: int) -> None:
    """Every node knows the version and every shard has committed it."""

    def all_do() -> bool:
        for node in together.up.values():
            if node.following.version != version:
                return False
            for name, state in node.host.states().items():
                if state.serving and view.version(node.host.shard(name).records) != version:
                    return False
        return True

    await until(all_do, 10, f"version {version} is not in force")


async def test_a_change_reaches_every_node_and_the_shard_and_twice_is_once(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        active = await two.serving(copies=2)
        other = next(node for node in two.up.values() if node is not active)
        file = centre(port_of(two), wrap_up="9s")

        dry = await applied(other, asked(file, dry_run=True))
        assert (dry["version"], dry["changed"], len(dry["changes"])) == (1, False, 1)
        done = await applied(other, asked(file))
        assert done == {
            "version": 2,
            "changed": True,
            "changes": [
                {"change": "changed", "kind": "queue", "name": "support",
                 "fields": {"wrap_up": ["5s", "9s"]}}
            ],
        }  # fmt: skip
        await in_force(two, 2)
        again = await applied(active, asked(file))
        assert again == {"version": 2, "changed": False, "changes": []}

        assert active.host.shard("main").records["settings"].centre.queues["support"] == Queue(
            wrap_up_ms=9_000
        )
        status = await active.read("status", "", 0)
        assert status["centre"] == {"version": 2}
        assert (status["shards"][0]["version"], status["shards"][0]["removed"]) == (2, False)

        history = await other.config_history()
        assert [(row["version"], row["by"], row["added"], row["changed"]) for row in history] == [
            (2, "anna@desk", 0, 1), (1, "node n1", 4, 0),
        ]  # fmt: skip
        assert "wrap_up: 9s" in (await other.config(0))["file"]
        assert "wrap_up" not in (await other.config(1))["file"]
        # Back to what it was: a version of its own, and the same centre.
        back = await applied(other, asked(version=1))
        assert (back["version"], len(back["changes"])) == (3, 1)
        await in_force(two, 3)
        with pytest.raises(Refused, match="there is no version 9; see keepline config history"):
            await applied(other, asked(version=9))


async def test_a_change_that_cannot_be_is_refused_whole_with_its_line(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        port, taken = port_of(one), free_udp_port()
        wrong = {
            centre(port, wrap_up="soon"): "new.yaml:3: queues.support.wrap_up: must be a time like",
            centre(taken): f"new.yaml:1: shards.main.sip: must stay 127.0.0.1:{port} while",
            centre(port, south=taken): f"new.yaml:1: shards.south.sip: udp 127.0.0.1:{taken} "
            r"\(SIP of shard south\) is in use by another process",
            "a: b\nc: [": "new.yaml:3: not YAML: ",
        }
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", taken))
            for text, why in wrong.items():
                for dry_run in (True, False):
                    with pytest.raises(Refused, match=why):
                        await applied(node, asked(text, dry_run=dry_run))
        with pytest.raises(Refused, match="made for version 3, and version 1, by node n1, 20"):
            await applied(node, asked(centre(port, wrap_up="9s"), based_on=3))
        assert [row["version"] for row in await node.config_history()] == [1]
        assert list(await node.store.list("configuration/")) == [KEY]


async def test_of_two_who_change_the_same_version_one_is_told_of_the_other(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        await two.serving(copies=2)
        port = port_of(two)
        for n in range(10):
            results = await asyncio.gather(
                *(
                    applied(node, asked(centre(port, wrap_up=f"{10 * n + place}s"), by=name))
                    for place, (name, node) in enumerate(two.up.items(), start=1)
                ),
                return_exceptions=True,
            )
            done = [result for result in results if isinstance(result, dict)]
            told = [str(result) for result in results if isinstance(result, Refused)]
            # One after the other is right as well: then the second saw what the first did.
            assert len(done) + len(told) == 2, results
            assert done
            assert all(" came first; see keepline diff" in why for why in told)
        versions = [row["version"] for row in await two.first.config_history()]
        assert versions == list(range(len(versions), 0, -1))


async def test_a_shard_comes_and_goes_with_the_centre(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as three:
        await three.serving(copies=3)
        main, south = port_of(three), free_udp_port()

        await applied(three.first, asked(centre(main, south=south)))
        first = await three.serving(copies=3, shard="south")
        assert is_bound(south)
        await in_force(three, 2)
        # The node where it is active dies: the shard is served as any other.
        dead = three.up.pop(first.options.name)
        await dead.host.close()
        await dead.store.close()
        second = await three.serving(copies=2, shard="south")
        assert second.host.states()["south"].epoch == 2

        await applied(three.first, asked(centre(main)))
        await until(lambda: all("south" not in node.shards for node in three.up.values()), 10)
        assert not is_bound(south)
        key = decode_key((await three.first.store.read(shard_key("south")))[1])
        assert key is not None
        assert key.closed == 3
        status = await three.first.read("status", "", 0)
        assert [shard["name"] for shard in status["shards"]] == ["main"]
        # A node that starts now has no part in it either, and it comes back with a later version.
        late = await three.start(first.options.name)
        assert list(late.shards) == ["main"]
        await applied(three.first, asked(centre(main, south=south)))
        again = await three.serving(copies=3, shard="south")
        assert again.host.states()["south"].epoch == 3


async def test_a_shard_that_is_declared_again_before_it_is_closed_goes_on(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        await two.serving(copies=2)
        main, south = port_of(two), free_udp_port()
        await applied(two.first, asked(centre(main, south=south)))
        active = await two.serving(copies=2, shard="south")
        active.following.look = lambda: None  # type: ignore[method-assign]  # it does not come to it
        await applied(two.first, asked(centre(main)))
        await in_force(two, 3)
        assert active.centre.closing == {"south": Shard(("127.0.0.1", south))}
        row = next(
            shard
            for shard in (await active.read("status", "", 0))["shards"]
            if shard["name"] == "south"
        )
        assert row["removed"] is True
        # Its address stays its own until then.
        with pytest.raises(Refused, match="is the address of shard south until its last call"):
            await applied(two.first, asked(centre(main, south=south).replace("south", "east")))
        await applied(two.first, asked(centre(main, south=south)))
        await in_force(two, 4)
        assert active.host.states()["south"].epoch == 1
        assert active.host.states()["south"].serving


async def test_a_node_begins_with_what_the_store_has_not_with_its_file(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        await two.serving(copies=2)
        await applied(two.first, asked(centre(port_of(two), wrap_up="9s")))
        two.centre.unlink()
        await two.up.pop("n2").stop()
        late = await two.start("n2")
        assert late.following.version == 2
        assert late.centre.queues["support"].wrap_up_ms == 9_000


async def test_a_node_that_cannot_read_the_centre_goes_on_and_says_so(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        await applied(node, asked(centre(port_of(one), wrap_up="9s")))
        await in_force(one, 2)
        _, good = await node.store.read(KEY)
        assert good is not None
        await node.store.put(KEY, b"not ours")
        await until(lambda: bool(node.following.alarm))
        alarms = (await node.read("status", "", 0))["alarms"]
        (alarm,) = (alarm for alarm in alarms if "centre" in alarm)
        assert alarm.startswith("n1: the centre in the store cannot be read (")
        assert alarm.endswith("; version 2 goes on")
        with pytest.raises(Refused, match="the centre in the store cannot be read"):
            await applied(node, asked(centre(port_of(one))))

        _, first = await node.store.read(f"{KEY}/00000001")
        assert first is not None
        await node.store.put(KEY, first)  # a store that forgot
        await until(lambda: "has version 1 of the centre" in node.following.alarm)
        assert node.host.shard("main").records["settings"].version == 2

        await node.store.put(KEY, good)
        await until(lambda: not node.following.alarm)


async def test_a_node_that_is_behind_does_not_turn_a_shard_back(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        active = await two.serving(copies=2)
        behind = next(node for node in two.up.values() if node is not active)
        port = port_of(two)

        async def deaf(stored: object) -> None:
            """What it would do of a new version, it does not."""

        behind.following._adopt = deaf  # type: ignore[method-assign]
        await applied(active, asked(centre(port, wrap_up="9s")))
        await until(lambda: view.version(active.host.shard("main").records) == 2)
        assert await active.host.hand_over("main")
        after = await two.serving(copies=2)
        assert after is behind
        assert behind.following.version == 1
        assert behind.host.shard("main").records["settings"].version == 2
        assert behind.host.shard("main").machine.book.centre.queues["support"].wrap_up_ms == 9_000  # type: ignore[attr-defined]


async def test_an_agent_who_has_a_call_in_another_shard_cannot_be_added_yet() -> None:
    old = Centre(
        numbers={},
        queues={"sales": Queue("north"), "help": Queue("south")},
        agents={},
        shards={"north": Shard(("127.0.0.1", 1)), "south": Shard(("127.0.0.1", 2))},
    )
    agent = Agent("Anna", "sip:1@127.0.0.1", ("help",))
    new = Centre(numbers={}, queues=old.queues, agents={"1": agent}, shards=old.shards)
    row = {"agent": "1", "shard": "north", "epoch": 3}
    async with serving(Desk({"agents": [row]})) as address:
        found = await still_elsewhere({"n1": address, "n2": "127.0.0.1:9"}, old, new)
        assert found is not None
        assert ".".join(found.path) == "agents.1.queues"
        assert found.why.startswith("he has a call to finish in shard north still")
        assert await still_elsewhere({"n1": address}, new, new) is None
    async with serving(Desk({"agents": [row | {"shard": "south"}]})) as address:
        assert await still_elsewhere({"n1": address}, old, new) is None
