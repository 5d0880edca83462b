"""Hosts over real links and a real store, in one process."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.io.link import Links
from cluster.io.security import Open
from cluster.io.sqlite import DEADLINE_MS
from cluster.process import is_provably_gone, is_stopped, start_time
from cluster.snapshot import decode_snapshot, encode_snapshot
from cluster.store import Process
from loadtest.sim.toy import Add, Counter, Done
from tests.cluster.hosts import cluster, until
from tests.cluster.toy import Fill


async def test_when_the_active_ends_another_node_goes_on_with_its_records(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        member = first.host.states()["main"].member
        for n in range(50):
            assert first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        assert [effect.value for effect in first.performed["main"]] == list(range(1, 51))

        await three.kill(first.name)
        second = await three.served("main", copies=2)

        assert second.name != first.name
        assert second.host.states()["main"].epoch == 2
        assert second.host.shard("main").records["k"].value == 50
        assert second.moved == [("main", member)]
        assert second.host.post("main", Add("k", "more"))
        await until(lambda: Done("k", "more", 51, "main/2/2") in second.performed["main"])
        assert isinstance(second.host.shard("main").records["k"], Counter)


async def test_two_shards_are_led_by_the_nodes_they_prefer_over_one_stream(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a", "b"), one=("a", "b"), two=("b", "a")) as both:
        one = await both.served("one", copies=2)
        two = await both.served("two", copies=2)
        assert (one.name, two.name) == ("a", "b")
        frames = one.host.frames_sent
        for n in range(20):
            one.host.post("one", Add("k", f"op{n}"))
            two.host.post("two", Add("k", f"op{n}"))
        assert await one.host.committed("one")
        assert await two.host.committed("two")
        assert one.host.frames_sent - frames < 10


async def test_a_drained_node_leads_nothing_and_lost_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path, one=("a", "b", "c"), two=("a", "c", "b")) as three:
        one = await three.served("one", copies=3)
        two = await three.served("two", copies=3)
        assert one is two
        for n in range(10):
            one.host.post("one", Add("k", f"op{n}"))
        await one.host.nodes.drain("a")
        await until(lambda: three.active("one") not in (None, one))
        await until(lambda: three.active("two") not in (None, one))
        after = await three.served("one", copies=2)
        assert after.name == "b"
        assert after.host.shard("one").records["k"].value == 10
        assert one.address["one"] == "closed"
        # Not by suspicion: the next epoch, and no third one.
        assert after.host.states()["one"].epoch == 2


async def test_what_a_clean_stop_of_all_nodes_leaves_the_next_start_goes_on_with(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        first.host.post("main", Fill(1_000, 100))
        first.host.post("main", Add("k", "op"))
        await asyncio.gather(*(node.stop() for node in three.nodes.values()))
        stopped = [node.host.states()["main"].role for node in three.nodes.values()]
        assert stopped.count("stopped") == 1
        three.nodes.clear()
        assert len(list((tmp_path / "snapshots").iterdir())) == 1

        for name in ("a", "b", "c"):
            await three.start(name)
        second = await three.served("main", copies=3)
        assert len(second.host.shard("main").records) == 1_001
        assert second.host.shard("main").records["k"].done == ["op"]
        assert second.host.shard("main").machine.lost == []  # type: ignore[attr-defined]


async def test_a_node_that_stops_alone_hands_over_first(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        first.host.post("main", Add("k", "op"))
        await three.nodes.pop(first.name).stop()
        second = await three.served("main", copies=2, within_s=2)
        assert second.host.shard("main").records["k"].done == ["op"]
        assert second.host.states()["main"].epoch == 2


async def test_a_node_that_leaves_delays_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        standby = next(name for name in three.nodes if name != first.name)
        await three.nodes.pop(standby).stop()
        assert len(first.host.states()["main"].in_sync) == 2
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")


async def test_an_address_that_cannot_be_had_is_tried_until_it_can(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        tries = 0

        async def move(shard: str, old: str) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise OSError("address in use")

        for node in three.nodes.values():
            node.host._specs["main"].move_address = move
        await three.kill(first.name)
        second = await three.served("main", copies=2)
        assert tries == 3
        assert any("address not moved" in note for note in second.notes)


async def test_a_bug_in_performing_an_effect_does_not_stop_the_shard(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",)) as one:
        first = await one.served("main", copies=1)

        def perform(effect: Done) -> None:
            if effect.op == "bad":
                raise ZeroDivisionError
            first.performed["main"].append(effect)

        first.host._specs["main"].perform = perform
        first.host.post("main", Add("k", "bad"))
        first.host.post("main", Add("k", "good"))
        assert await first.host.committed("main")
        assert [effect.op for effect in first.performed["main"]] == ["good"]
        assert any("effect failed" in note for note in first.notes)


async def test_a_key_that_nobody_can_read_is_a_store_that_does_not_answer(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        _, value = await first.store.read("shard/main")
        assert value is not None
        await first.store.put("shard/main", b"not a key")
        await first.store.put("process/x", b"nor a process")
        standby = next(name for name in three.nodes if name != first.name)
        await three.kill(standby)
        first.host.post("main", Add("k", "op"))
        await until(lambda: any("key not read" in note for note in first.notes))
        assert first.performed["main"] == []

        await first.store.put("shard/main", value)
        assert await first.host.committed("main")
        assert all(node.broken == [] for node in three.nodes.values())
        await three.start(standby)
        await three.served("main", copies=3)


async def test_a_bug_in_the_turn_of_the_loop_stops_the_node(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",)) as one:
        first = await one.served("main", copies=1)

        def fire() -> None:
            raise ZeroDivisionError

        first.host.shard("main")._fire = fire  # type: ignore[method-assign]
        await until(lambda: first.broken != [])
        assert isinstance(first.broken[0], ZeroDivisionError)


async def test_a_node_that_is_heard_no_more_and_still_reached_may_hold_a_copy(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        other = next(name for name in three.nodes if name != first.name)
        first.host.link_down(other)  # its stream to us broke, ours to it did not
        assert other in first.host.shard("main").core.up


async def test_a_snapshot_of_one_shard_removes_none_of_another_with_a_like_name(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for age, name in enumerate(("a-b-7", "a-1", "a-2", "a-3"), 1):
        (folder / f"{name}.snapshot").write_bytes(b"")
        os.utime(folder / f"{name}.snapshot", (age, age))
    async with cluster(tmp_path, ("n",), a=("n",)) as one:
        first = await one.served("a", copies=1)
        first.host.post("a", Add("k", "op"))
        await one.nodes.pop("n").stop()
        left = sorted(path.name for path in folder.iterdir())
        assert left == ["a-1.snapshot", "a-3.snapshot", "a-b-7.snapshot"]


@pytest.mark.parametrize("damage", ["missing", "cut short", "changed", "another shard's"])
async def test_a_shard_whose_snapshot_cannot_be_read_says_so_and_starts_empty(
    tmp_path: Path, damage: str
) -> None:
    async with cluster(tmp_path, ("a",)) as one:
        first = await one.served("main", copies=1)
        first.host.post("main", Add("k", "op"))
        await one.nodes.pop("a").stop()
        (file,) = (tmp_path / "snapshots").iterdir()
        whole = file.read_bytes()
        match damage:
            case "missing":
                file.unlink()
            case "cut short":
                file.write_bytes(whole[:-3])
            case "changed":
                file.write_bytes(whole[:60] + b"X" + whole[61:])
            case _:
                snapshot = decode_snapshot(whole)
                file.write_bytes(encode_snapshot(replace(snapshot, shard="other")))

        second = await one.start("a")
        await one.served("main", copies=1, within_s=10)
        assert second.host.shard("main").machine.lost == [2]  # type: ignore[attr-defined]
        assert any(f"snapshot not read {{'shard': 'main', 'snapshot': '{file.name}'" in note
                   for note in second.notes)  # fmt: skip
        assert second.broken == []


async def test_a_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a",)) as one:
        links = Links(
            node="b",
            incarnation="x",
            listen=one.peers["a"],
            peers={},
            receiver=one.nodes["a"].host,
            guard=one.nodes["a"].broken.append,
            security=Open(),
            note=lambda what, **fields: None,
        )
        with pytest.raises(OSError, match=f"cannot listen on {one.peers['a']}: .*in use"):
            await links.start()
        await links.stop()


def test_a_process_is_gone_only_when_its_pid_runs_since_another_time_on_the_same_host() -> None:
    process = Process(
        node="a", incarnation="x", pid=7, start_time=100, host="h", boot_id="b", address=""
    )

    def gone(running: int | None, host: str = "h", boot_id: str = "b") -> bool:
        return is_provably_gone(process, host=host, boot_id=boot_id, running=running)

    assert not gone(100)
    assert gone(101)
    assert gone(None)
    assert gone(100, boot_id="after a restart of the host")
    assert not gone(None, host="another one")
    assert not gone(None, host="another one", boot_id="another one's")


def test_a_process_may_be_named_anything() -> None:
    fields = " ".join(str(n) for n in range(4, 60))
    assert start_time(f"7 (a) R (b)) S {fields}") == 22
    assert start_time(f"7 (python) Z {fields}") is None
    assert is_stopped(f"7 (x R) T {fields}")
    assert not is_stopped(f"7 (T) R {fields}")


async def test_a_store_that_is_locked_while_a_node_starts_is_waited_for(tmp_path: Path) -> None:
    async with cluster(tmp_path, ("a", "b")) as together:
        await together.served("main", copies=2)
        await together.kill("b")
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("begin immediate")
        asyncio.get_running_loop().call_later(3 * DEADLINE_MS / 1000, other.execute, "rollback")

        await together.start("b")

        await together.served("main", copies=2)
        other.close()
