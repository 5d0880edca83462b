"""Every copy dies: what comes back by itself, what waits for a person; what far nodes are for."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.io.journal import JournalTaken
from cluster.io.security import Open
from cluster.io.survivors import NodeTaken
from cluster.process import process_key
from cluster.promotion import refusal, statement
from cluster.store import encode_process
from loadtest.sim.toy import Add
from tests.cluster.ends import End
from tests.cluster.hosts import Cluster, Node, cluster, free_ports, until
from tests.cluster.toy import Fill, Toy


async def all_die(three: Cluster) -> None:
    """As kill -9 of all of them at once does."""
    nodes = list(three.nodes.values())
    three.nodes.clear()
    await asyncio.gather(*(node.close() for node in nodes))


def toy(node: Node) -> Toy:
    machine = node.host.shard("main").machine
    assert isinstance(machine, Toy)
    return machine


def records(node: Node) -> list[str]:
    done = node.host.shard("main").records["k"].done
    assert isinstance(done, list)
    return done


def is_kept(node: Node) -> bool:
    """Does the node's journal lack nothing?"""
    left = node.host.journals.folder.newest("main", lambda what, **fields: None)
    return left is not None and left.flaw == ""


def forget(folder: Path) -> None:
    """The memory is gone, as after a restart of the host."""
    for tail in folder.glob("keepline-*"):
        tail.unlink()


@pytest.mark.parametrize("journal", ["async", "sync"])
async def test_a_shard_whose_every_copy_died_comes_back_with_all_that_was_acknowledged(
    tmp_path: Path, journal: str
) -> None:
    async with cluster(tmp_path, journal=journal) as three:
        first = await three.served("main", copies=3)
        await until(lambda: all(is_kept(node) for node in three.nodes.values()))
        first.host.post("main", Fill(1_000, 300))
        for n in range(50):
            first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        time_ms = first.host.shard("main").time_ms()
        await all_die(three)

        for name in ("c", "b", "a"):
            await three.start(name)
        again = await three.served("main", copies=3, within_s=10)
        assert records(again) == [f"op{n}" for n in range(50)]
        assert len(again.host.shard("main").records) == 1_001
        assert again.host.shard("main").time_ms() >= time_ms
        assert (toy(again).lost, toy(again).promoted) == ([], 0)
        await until(lambda: all(is_kept(node) for node in three.nodes.values()))
        files = list((tmp_path / "journals" / again.name).glob("*.journal"))
        assert len(files) == 1  # what was left before is gone


async def test_one_node_of_those_in_sync_is_enough_to_come_back(tmp_path: Path) -> None:
    async with cluster(tmp_path, journal="async") as three:
        first = await three.served("main", copies=3)
        await until(lambda: all(is_kept(node) for node in three.nodes.values()))
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")
        await all_die(three)

        await three.start("c")
        again = await three.served("main", copies=1, within_s=10)
        assert records(again) == ["op"]


async def test_a_journal_that_may_lack_something_waits_for_a_person(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",), journal="async") as one:
        first = await one.served("main", copies=1)
        await until(lambda: is_kept(first))
        for n in range(3):
            first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        await all_die(one)
        forget(tmp_path)

        second = await one.start("a")
        await until(lambda: bool(second.host.states()["main"].stuck), 10)
        assert not second.host.states()["main"].serving
        offer = await second.host.survivors.offer("main")
        assert refusal(offer) == ""
        assert offer.source == "journal"
        text = "\n".join(statement(offer))
        assert "the journal may lack its end: its newest part was in memory that is gone" in text
        assert f"up to number {offer.end} of epoch 1" in text

        assert await second.host.survivors.promote("main") == ""
        assert toy(second).promoted == 1
        assert second.host.states()["main"].epoch == 2
        assert any("shard waits" in note for note in second.notes)


async def test_nobody_is_promoted_while_one_lives_that_holds_everything(tmp_path: Path) -> None:
    async with cluster(tmp_path, journal="async") as three:
        first = await three.served("main", copies=3)
        standby, other = (node for node in three.nodes.values() if node is not first)
        why = refusal(await standby.host.survivors.offer("main"))
        assert why == f"shard main is led by {first.name}"
        assert refusal(await first.host.survivors.offer("main")) == (
            f"shard main is led by {first.name}"
        )
        await three.kill(first.name)
        await three.served("main", copies=2)
        offer = await standby.host.survivors.offer("main")
        offer.leader = ""  # as while they have not agreed yet
        assert refusal(offer).endswith(
            "held everything and still runs; it takes over by itself, or must be stopped first"
        )
        assert sorted(member[0] for member in offer.alive) == sorted([standby.name, other.name])


async def test_a_far_node_gets_everything_and_is_waited_for_by_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path, far=("c",)) as three:
        first = await three.served("main", copies=2)
        far = three.nodes["c"]
        for n in range(20):
            first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        end = first.host.shard("main").core.log.end
        await until(lambda: far.host.shard("main").core.log.end == end)
        await until(lambda: first.host.states()["main"].far == {"c": 0})
        assert "c" not in [member[0] for member in first.host.states()["main"].in_sync]

        # Both near ones die: it holds all of it, and waits for a person.
        await asyncio.gather(three.kill("a"), three.kill("b"))
        await until(lambda: bool(far.host.states()["main"].stuck), 10)
        offer = await far.host.survivors.offer("main")
        assert (offer.source, offer.end, offer.alive) == ("copy", end, [])
        assert await far.host.survivors.promote("main") == ""
        assert records(far) == [f"op{n}" for n in range(20)]

        # The near ones come back, follow it, and may have the shard again.
        for name in ("a", "b"):
            await three.start(name)
        await three.served("main", copies=3)
        assert await far.host.hand_over("main") == "a"
        again = await three.served("main", copies=2)
        assert again.name == "a"
        assert "c" not in [member[0] for member in again.host.states()["main"].in_sync]
        await until(lambda: again.host.states()["main"].far == {"c": 0})


async def test_a_journal_that_cannot_be_written_costs_no_call(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a", "b"), journal="async") as two:
        first = await two.served("main", copies=2)
        await until(lambda: is_kept(first))
        storage = first.host.journals._storage
        assert storage is not None

        def full(file: str, data: bytes, *, sync: bool) -> None:
            raise OSError(28, "No space left on device")

        storage._write = full  # type: ignore[method-assign]
        first.host.post("main", Add("k", "op"))
        await until(lambda: first.host.states()["main"].journal == "No space left on device")
        first.host.post("main", Add("k", "more"))
        assert await first.host.committed("main")
        assert not is_kept(first)


async def test_with_sync_who_cannot_write_leaves_the_shard_to_others(tmp_path: Path) -> None:
    async with cluster(tmp_path, journal="sync") as three:
        first = await three.served("main", copies=3)
        storage = first.host.journals._storage
        assert storage is not None

        def full(file: str, data: bytes, *, sync: bool) -> None:
            raise OSError(28, "No space left on device")

        storage._write = full  # type: ignore[method-assign]
        first.host.post("main", Add("k", "op"))
        await until(lambda: three.active("main") not in (None, first))
        second = await three.served("main", copies=2)
        assert second is not first
        assert first.name not in [member[0] for member in second.host.states()["main"].in_sync]
        assert any("journal not kept" in note for note in first.notes)
        second.host.post("main", Add("k", "op"))
        assert await second.host.committed("main")


async def test_a_second_process_with_the_same_journals_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",), journal="async") as one:
        first = await one.served("main", copies=1)
        first.host.post("main", Add("k", "op"))
        twin = Node("a", one.peers, tmp_path, one.shards, one.make_store(), journal="async")
        with pytest.raises(JournalTaken, match="is this node already; stop it first"):
            await twin.start()
        await twin.store.close()
        assert await first.host.committed("main")
        assert records(first) == ["op"]


async def test_a_second_node_of_the_same_name_is_refused_wherever_it_runs(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        process = await first.host.process_of(first.host.states()["main"].member)
        assert process is not None
        elsewhere = replace(process, host="another one", boot_id="another one's")
        await first.store.put(
            process_key(process.node, process.incarnation), encode_process(elsewhere)
        )
        (port,) = free_ports(1)
        peers = {**three.peers, first.name: f"127.0.0.1:{port}"}
        twin = Node(first.name, peers, tmp_path / "other", three.shards, three.make_store())
        with pytest.raises(NodeTaken, match=f"node {first.name} runs already: it answers at"):
            await twin.start()
        await twin.store.close()
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")
        assert first.host.states()["main"].epoch == 1


async def test_two_processes_that_speak_for_one_node_are_not_mixed_up(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        standby = next(node for node in three.nodes.values() if node is not first)
        (port,) = free_ports(1)
        peers = {
            standby.name: f"127.0.0.1:{port}",
            first.name: three.peers[first.name],
        }
        twin = End(standby.name, peers, Open())
        await twin.links.start()
        await until(lambda: bool(twin.noted("link refused")))
        assert f": node {standby.name} is process " in twin.noted("link refused")[0]["why"]
        assert not twin.links.is_up(first.name)
        await twin.links.stop()
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")
        assert len(first.host.states()["main"].in_sync) == 3


async def test_a_copied_folder_brings_nothing_by_itself(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",), journal="sync") as one:
        first = await one.served("main", copies=1)
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")
        await all_die(one)
        folder = tmp_path / "journals" / "a"
        for file in folder.glob("*.journal"):
            copy = file.with_suffix(".copy")
            copy.write_bytes(file.read_bytes())
            copy.rename(file)

        second = await one.start("a")
        await until(lambda: bool(second.host.states()["main"].stuck), 10)
        assert "it was copied to where it is" in second.host.states()["main"].stuck
