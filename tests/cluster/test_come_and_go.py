"""Shards that are added to running hosts, and shards that are closed for good."""

import asyncio
from pathlib import Path

from cluster.io.host import ShardSpec
from cluster.process import shard_key
from cluster.store import ShardKey, decode_key, encode_key
from loadtest.sim.toy import Add, Confirm
from tests.cluster.hosts import Cluster, Node, cluster, until
from tests.cluster.toy import Forget, Toy

NAMES = ("a", "b", "c")


def add(node: Node, shard: str, version: int, preferred: tuple[str, ...] = NAMES) -> None:
    node.performed.setdefault(shard, [])
    node.host.add_shard(
        shard,
        ShardSpec(
            machine=Toy,
            perform=node.performed[shard].append,
            preferred=preferred,
            move_address=node._move,
            on_serving=lambda shard, lost: node.address.update({shard: "open"}),
            on_deposed=lambda shard: node.address.update({shard: "closed"}),
            version=version,
            check=True,
        ),
    )


async def key_of(together: Cluster, shard: str) -> ShardKey:
    node = next(iter(together.nodes.values()))
    key = decode_key((await node.store.read(shard_key(shard)))[1])
    assert key is not None
    return key


def is_empty(records: object) -> bool:
    assert isinstance(records, dict)
    return "k" not in records


async def closed(together: Cluster, shard: str) -> None:
    """Every host sees that it is gone, and has no part in it any more."""
    for node in together.nodes.values():
        await until(lambda node=node: node.host.is_closed(shard))  # type: ignore[misc]
        node.host.remove_shard(shard)
        assert shard not in node.host.states()
        assert node.address[shard] == "closed"


async def test_a_shard_is_added_to_running_hosts_and_survives_its_active(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        await three.served("main", copies=3)
        for node in three.nodes.values():
            add(node, "more", 2, ("b", "c", "a"))
        first = await three.served("more", copies=3)
        assert first.name == "b"
        assert first.host.post("more", Add("k", "op"))
        assert await first.host.committed("more")

        await three.kill("b")
        second = await three.served("more", copies=2)
        assert second.host.shard("more").records["k"].value == 1


async def test_a_shard_is_closed_when_nothing_is_left_in_it(tmp_path: Path) -> None:
    async with cluster(tmp_path, main=NAMES, other=NAMES) as three:
        active = await three.served("main", copies=3)
        standby = next(node for node in three.nodes.values() if node is not active)
        for op in ("Confirm", "Forget"):
            active.host.post("main", Add("k", op))
        for node in three.nodes.values():
            node.host.configured("main", 0, NAMES)

        assert not await active.host.close_shard("main", 7, is_empty)
        assert not await standby.host.close_shard("main", 7, is_empty)
        assert active.host.post("main", Confirm("k", "Forget"))  # it goes on
        assert active.host.post("main", Forget("k"))
        assert await active.host.close_shard("main", 7, is_empty)

        assert (await key_of(three, "main")).closed == 7
        await closed(three, "main")
        # Nobody wants it back, and the other one never noticed.
        assert (await key_of(three, "main")).epoch == 1
        assert (await three.served("other", copies=3)).host.states()["other"].epoch == 1


async def test_a_shard_that_is_removed_before_it_came_to_be_is_closed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        await three.served("main", copies=3)
        for node in three.nodes.values():
            add(node, "more", 0)
        for node in three.nodes.values():
            await until(lambda node=node: node.host.is_closed("more"))  # type: ignore[misc]
        node = next(iter(three.nodes.values()))
        assert await node.store.read(shard_key("more")) == (0, None)


async def test_a_closed_shard_comes_back_empty_by_a_later_version_only(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        active = await three.served("main", copies=3)
        active.host.post("main", Add("old", "op"))
        for node in three.nodes.values():
            node.host.configured("main", 0, NAMES)
        assert await active.host.close_shard("main", 7, is_empty)
        await closed(three, "main")

        behind, *ahead = three.nodes.values()
        add(behind, "main", 7)  # the first in order, and it has not heard that the shard is gone
        await until(lambda: behind.host.is_closed("main"))
        await asyncio.sleep(0.5)  # it looks at the key every 250 ms
        assert (await key_of(three, "main")).epoch == 1
        for node in ahead:
            add(node, "main", 8)
        behind.host.configured("main", 8, NAMES)

        again = await three.served("main", copies=3)
        assert again.host.states()["main"].epoch == 2
        assert "old" not in again.host.shard("main").records
        assert again.host.shard("main").machine.lost == []  # type: ignore[attr-defined]
        assert again.host.post("main", Add("k", "op"))
        assert await again.host.committed("main")
        assert (await key_of(three, "main")).closed == 0


async def test_who_takes_over_a_shard_that_shall_go_closes_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        active = await three.served("main", copies=3)
        for node in three.nodes.values():
            node.host.configured("main", 0, NAMES)
        await three.kill(active.name)
        successor = await three.served("main", copies=2)
        assert await successor.host.close_shard("main", 3, is_empty)
        await closed(three, "main")
        assert (await key_of(three, "main")).epoch == 2


async def test_a_shard_that_is_being_handed_over_is_not_closed_meanwhile(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        active = await three.served("main", copies=3)
        moving = asyncio.create_task(active.host.hand_over("main"))
        async with asyncio.timeout(5):
            # It is held up for less than a look of `until`.
            while not active.host.shard("main").held_up:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not await active.host.close_shard("main", 3, is_empty)
        successor = await moving
        assert successor
        after = await three.served("main", copies=3)
        assert (after.name, after.host.states()["main"].epoch) == (successor, 2)


async def test_an_active_that_lost_its_lead_while_it_closed_follows(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        active = await three.served("main", copies=3)
        rev, value = await active.store.read(shard_key("main"))
        key = decode_key(value)
        assert key is not None
        # Another member wins the next epoch just before the key is closed.
        other = next(one for one in key.in_sync if one != key.active)
        stolen = ShardKey(2, other, (other,))
        await active.store.cas(shard_key("main"), rev, encode_key(stolen))
        assert not await active.host.close_shard("main", 3, is_empty)
        assert active.host.states()["main"].role == "follower"
        assert (await key_of(three, "main")).closed == 0
