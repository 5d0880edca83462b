"""Nodes that come, drain and go while shards are busy: hosts over real links and a real store."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cluster.io.security import Open
from cluster.outside import ShardState
from cluster.placement import Policy
from cluster.store import node_of
from loadtest.sim.toy import Add, Done
from tests.cluster.ends import End
from tests.cluster.hosts import Cluster, cluster, free_ports, until

QUICK = Policy(steady_ms=200, away_ms=1_000)
TWELVE: dict[str, tuple[str, ...]] = {f"s{n:02}": () for n in range(12)}
EVERY_S = 0.005
AGAIN_S = 0.05


class Busy:
    """Somebody at every shard who repeats each operation until it is acknowledged."""

    def __init__(self, together: Cluster) -> None:
        self.together = together
        self.acknowledged: dict[str, list[str]] = {shard: [] for shard in together.shards}
        self.seen: dict[str, list[Done]] = {shard: [] for shard in together.shards}
        self._asking = True

    async def ask(self, shard: str) -> None:
        for n in itertools.count():
            op = f"op{n}"
            while self._asking and not self._is_done(shard, op):
                active = self.together.active(shard)
                if active is not None:
                    active.host.post(shard, Add("k", op))
                with suppress(AssertionError):
                    await until(lambda: self._is_done(shard, op), AGAIN_S)  # noqa: B023
            if not self._asking:
                return
            self.acknowledged[shard].append(op)
            await asyncio.sleep(EVERY_S)

    def _is_done(self, shard: str, op: str) -> bool:
        for node in self.together.nodes.values():
            performed = node.performed[shard]
            self.seen[shard] += [effect for effect in performed if isinstance(effect, Done)]
            performed.clear()
        return any(effect.op == op for effect in self.seen[shard][-20:])

    def stop(self) -> None:
        self._asking = False

    def check(self) -> None:
        """Nothing that was acknowledged is lost, and nothing was done twice."""
        for shard, ops in self.acknowledged.items():
            assert len(ops) > 3, f"{shard} stood still"
            active = self.together.active(shard)
            assert active is not None
            counter = active.host.shard(shard).records["k"]
            assert set(ops) <= set(counter.done)
            assert len(set(counter.done)) == len(counter.done) == counter.value
            first = [done for done in self.seen[shard] if not done.again]
            assert len({done.op for done in first}) == len(first)


@asynccontextmanager
async def busy(together: Cluster) -> AsyncIterator[Busy]:
    """Checked at the end."""
    people = Busy(together)
    async with asyncio.TaskGroup() as tasks:
        for shard in together.shards:
            tasks.create_task(people.ask(shard))
        try:
            yield people
        finally:
            people.stop()
    people.check()
    for node in together.nodes.values():
        assert node.broken == []


def copies(together: Cluster) -> dict[str, int]:
    """How many copies in sync each node holds, as the actives say."""
    found = dict.fromkeys(together.nodes, 0)
    for shard in together.shards:
        active = together.active(shard)
        for member in active.host.states()[shard].in_sync if active else ():
            found[node_of(member)] = found.get(node_of(member), 0) + 1
    return found


def leads(together: Cluster) -> dict[str, int]:
    """How many shards each node serves."""
    found = dict.fromkeys(together.nodes, 0)
    for shard in together.shards:
        if (active := together.active(shard)) is not None:
            found[active.name] += 1
    return found


async def placed(
    together: Cluster, held: Mapping[str, int], led: Mapping[str, int], within_s: float = 30.0
) -> None:
    """Wait until copies and shards are there."""

    def is_so() -> bool:
        return copies(together) == held and leads(together) == led

    with suppress(AssertionError):
        await until(is_so, within_s)
    assert (copies(together), leads(together)) == (held, led)


def nodes(together: Cluster, each: int, **other: int) -> dict[str, int]:
    return dict.fromkeys(together.nodes, each) | other


async def test_a_node_that_joins_gets_its_share_and_nothing_is_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path, shards=TWELVE, policy=QUICK) as three:
        await placed(three, nodes(three, 12), nodes(three, 4))
        async with busy(three):
            await three.join("d")
            await placed(three, nodes(three, 9), nodes(three, 3))
        for node in three.nodes.values():
            assert set(node.host.addresses) == {"a", "b", "c", "d"}


async def test_a_drained_node_leads_and_holds_nothing_until_it_drains_no_more(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, "abcd", shards=TWELVE, policy=QUICK) as four:
        await placed(four, nodes(four, 9), nodes(four, 3))
        async with busy(four):
            await four.nodes["a"].host.nodes.drain("b")
            await placed(four, nodes(four, 12, b=0), nodes(four, 4, b=0))
            await four.nodes["c"].host.nodes.undrain("b")
            await placed(four, nodes(four, 9), nodes(four, 3))


async def test_a_drained_node_may_stop_and_start_and_still_gets_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path, "abcd", shards=TWELVE, policy=QUICK) as four:
        await placed(four, nodes(four, 9), nodes(four, 3))
        await four.nodes["d"].host.nodes.drain("d")
        await placed(four, nodes(four, 12, d=0), nodes(four, 4, d=0))
        await four.nodes.pop("d").stop()
        fresh = await four.start("d")
        await until(lambda: len(fresh.host.shard("s00").core.up) == 3)
        assert "d" in fresh.host.nodes.roster.draining
        async with busy(four):
            await asyncio.sleep(3 * QUICK.steady_ms / 1000)  # time enough to get something
        await placed(four, nodes(four, 12, d=0), nodes(four, 4, d=0))


async def test_a_shard_returns_to_its_preferred_node_when_that_is_back(tmp_path: Path) -> None:
    async with cluster(tmp_path, one=("b",), two=("c",), policy=QUICK) as three:
        await placed(three, nodes(three, 2), {"a": 0, "b": 1, "c": 1})
        async with busy(three):
            await three.kill("b")
            await until(lambda: three.active("one") is not None)
            epoch = state(three, "one").epoch
            await three.start("b")
            await placed(three, nodes(three, 2), {"a": 0, "b": 1, "c": 1})
            assert three.active("one") is three.nodes["b"]
            assert state(three, "one").epoch == epoch + 1


async def test_a_shard_stays_where_an_operator_put_it_until_that_node_is_lost(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, one=("b",), policy=QUICK) as three:
        await placed(three, nodes(three, 1), {"a": 0, "b": 1, "c": 0})
        assert await three.nodes["b"].host.switch_over("one", "c")
        await until(lambda: three.active("one") is three.nodes["c"])
        await asyncio.sleep(3 * QUICK.steady_ms / 1000)  # time enough to return
        assert three.active("one") is three.nodes["c"]
        await three.kill("c")
        await until(lambda: three.active("one") is three.nodes["b"], 10)
        await until(lambda: not three.nodes["b"].host.nodes.staying)


async def test_a_node_that_stops_in_order_is_missed_by_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path, shards=TWELVE, policy=QUICK) as three:
        await placed(three, nodes(three, 12), nodes(three, 4))
        await three.join("d")
        await placed(three, nodes(three, 9), nodes(three, 3))
        async with busy(three):
            await three.nodes.pop("d").stop()
            await placed(three, nodes(three, 12), nodes(three, 4))
        for node in three.nodes.values():
            assert set(node.host.addresses) == {"a", "b", "c"}


async def test_a_node_that_dies_is_replaced_after_a_while_and_may_be_forgotten(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, shards=TWELVE, policy=QUICK) as three:
        await placed(three, nodes(three, 12), nodes(three, 4))
        await three.join("d")
        await placed(three, nodes(three, 9), nodes(three, 3))
        async with busy(three):
            await three.kill("d")
            await placed(three, nodes(three, 12), nodes(three, 4))
        some = three.nodes["a"].host
        assert set(some.addresses) == {"a", "b", "c", "d"}
        await some.nodes.forget("d")
        assert set(some.addresses) == {"a", "b", "c"}


async def test_a_bug_in_the_placement_costs_nobody_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with cluster(tmp_path, shards=TWELVE, policy=QUICK) as three:
        await placed(three, nodes(three, 12), nodes(three, 4))
        monkeypatch.setattr("cluster.io.placer.plan", broken)
        async with busy(three):
            for node in three.nodes.values():
                node.host.placer.wake()
                await until(lambda: any("placement failed" in note for note in node.notes))  # noqa: B023
                assert sum("placement failed" in note for note in node.notes) == 1


async def test_a_link_to_an_address_that_another_node_has_by_now_does_not_stand(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as three:
        await three.served("main", copies=3)
        await three.kill("c")
        (port,) = free_ports(1)
        peers = {"c": f"127.0.0.1:{port}", "d": three.peers["b"], "b": three.peers["b"]}
        stranger = End("c", peers, Open())
        await stranger.links.start()
        await until(lambda: stranger.links.is_up("b"))
        await until(lambda: stranger.links.counters["strangers"] > 1)
        assert stranger.up == ["b"]
        await stranger.links.stop()


def state(together: Cluster, shard: str) -> ShardState:
    active = together.active(shard)
    assert active is not None
    return active.host.states()[shard]
