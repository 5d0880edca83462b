"""More than one process dies, or all of them stop: what is left of the calls."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults import Scene, playing
from tests.e2e.people import FEW, SHARDS, People
from tests.e2e.seen import SILENCE_MS, Findings, gap_is_small, nothing_lost

pytestmark = pytest.mark.real

TALKING = People(waiting=20, talking=20, ringing=0)
"""For stories that take longer than a phone rings."""


async def epochs(scene: Scene) -> dict[str, int]:
    return {shard["name"]: shard["epoch"] for shard in (await scene.status())["shards"]}


def assert_silence_was_short(found: Findings) -> None:
    gaps = found.of("fault")
    assert gaps.talkers > 0
    assert gaps.listeners > 0
    assert gaps.talkers_after_ms <= SILENCE_MS, found.line()
    assert gaps.listeners_after_ms <= SILENCE_MS, found.line()


async def test_nodes_die_one_after_another_and_nothing_is_lost(tmp_path: Path) -> None:
    async with playing(tmp_path, TALKING) as scene:
        await scene.come()
        for name in scene.names:
            await scene.whole()
            before = await scene.status()
            struck_s = await scene.strike(
                scene.pid(before, name), how=signal.SIGKILL, name=f"death of {name}"
            )
            for shard in before["shards"]:
                if shard["active"] == name:
                    await scene.taken_over(shard["name"], shard["epoch"], struck_s)
            await scene.rest()
        await scene.whole()
        await scene.agents_agree("after three deaths")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found)
    for name in scene.names:
        assert gap_is_small(found.of(f"death of {name}")), found.line()


async def test_an_active_and_the_media_server_die_together_and_calls_go_on(tmp_path: Path) -> None:
    async with playing(tmp_path, FEW) as scene:
        await scene.come()
        await scene.rest(2.0)
        _, active = await scene.active("north")
        before = await epochs(scene)
        struck_s = await scene.strike(active, scene.media_pid(), how=signal.SIGKILL)
        await scene.taken_over("north", before["north"], struck_s)
        await scene.rest()
        await scene.agents_agree("after the fault")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found, media_died=True)
    assert_silence_was_short(found)


async def test_the_media_server_dies_and_no_call_ends(tmp_path: Path) -> None:
    async with playing(tmp_path, FEW) as scene:
        await scene.come()
        await scene.rest(2.0)
        before = await epochs(scene)
        await scene.strike(scene.media_pid(), how=signal.SIGKILL)
        await scene.rest()
        await scene.agents_agree("after the fault")
        assert await epochs(scene) == before
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found, media_died=True)
    assert_silence_was_short(found)


async def test_a_node_is_drained_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    async with playing(tmp_path, FEW) as scene:
        await scene.come()
        name, pid = await scene.active("north")
        await scene.more(100, rate=20)
        await scene.rest(2.0)
        await scene.mark("fault")
        done = await asyncio.to_thread(scene.cluster.run, "drain", name)
        assert done.returncode == 0, done.stderr
        status = await scene.status()
        assert scene.pid(status, name) == pid
        assert name not in [shard["active"] for shard in status["shards"]]
        await scene.rest()
        await scene.agents_agree("after the drain")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found)
    assert gap_is_small(found.of("fault")), found.line()


async def test_a_cluster_that_was_stopped_starts_again_with_all_its_calls(tmp_path: Path) -> None:
    async with playing(tmp_path, TALKING) as scene:
        await scene.come()
        await scene.rest(2.0)
        before = await epochs(scene)
        order = [row["call"] for row in await scene.asked.rows("calls")]
        assert await asyncio.to_thread(scene.cluster.stop) == 0
        assert scene.cluster.processes() == []

        scene.cluster.start(wait=False)
        await scene.ready()
        assert [row["call"] for row in await scene.asked.rows("calls")] == order
        after = await epochs(scene)
        assert all(after[shard] > before[shard] for shard in SHARDS)
        await scene.rest(3.0)
        await scene.agents_agree("after the start")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found, media_died=True)


async def test_all_nodes_die_at_once_and_come_back_with_every_call(tmp_path: Path) -> None:
    async with playing(tmp_path, TALKING) as scene:
        await scene.come()
        await scene.rest(2.0)
        before = await epochs(scene)
        order = [row["call"] for row in await scene.asked.rows("calls")]
        pids = [node["pid"] for node in (await scene.status())["nodes"]]
        await scene.strike(*pids, how=signal.SIGKILL)

        async def came_back() -> bool:
            now = await epochs(scene)
            return all(now.get(shard, 0) > before[shard] for shard in SHARDS)

        await scene.until("the shards come back", came_back, 30)
        await scene.whole()
        assert [row["call"] for row in await scene.asked.rows("calls")] == order
        await scene.rest(3.0)
        await scene.agents_agree("after they came back")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found)


async def test_what_a_journal_may_lack_an_operator_decides_and_is_told(tmp_path: Path) -> None:
    async with playing(tmp_path, FEW) as scene:
        await scene.come()
        pids = [node["pid"] for node in (await scene.status())["nodes"]]
        await scene.strike(*pids, how=signal.SIGKILL)
        for tail in Path(os.environ["KEEPLINE_TAILS"]).iterdir():  # noqa: ASYNC240
            tail.unlink()  # the memory is gone, as after a restart of the host

        def alarms(status: dict[str, Any]) -> list[str]:
            return [alarm for alarm in status["alarms"] if "keepline promote north" in alarm]

        async def waits() -> bool:
            return len(alarms(await scene.status())) == len(scene.names)

        await scene.until("every node says what it has", waits, 30)
        run = scene.cluster.run
        asked = await asyncio.to_thread(run, "promote", "north", "--from", "n2")
        assert asked.returncode == 1
        assert "shard north would go on with the journal of n2:" in asked.stdout
        assert "the journal may lack its end: its newest part was in memory" in asked.stdout
        assert asked.stderr.strip() == "keepline: nothing was done; say --yes to do it"
        for shard in SHARDS:
            done = await asyncio.to_thread(run, "promote", shard, "--from", "n2", "--yes")
            assert done.returncode == 0, done.stderr
            assert done.stdout.rstrip().endswith(f"shard {shard} is led by n2")
        await scene.whole()
        refused = await asyncio.to_thread(run, "promote", "north", "--from", "n1", "--yes")
        assert refused.stderr.strip() == "keepline: shard north is led by n2"
        kinds = [event["kind"] for event in await scene.asked.history("events")]
        assert kinds.count("promoted") == len(SHARDS)
        ledger = (await scene.status())["ledger"]
        assert ledger["unaccounted"] == 0
        for phones in scene.phones.values():
            await phones.ask(stop=True)
        for phones in scene.phones.values():
            await phones.ended(45_000)


async def test_all_nodes_die_at_once_and_without_journals_it_is_said_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPLINE_JOURNAL", "off")
    async with playing(tmp_path, FEW) as scene:
        await scene.come()

        async def written() -> bool:
            kinds = [event["kind"] for event in await scene.asked.history("events")]
            return kinds.count("received") == FEW.calls

        await scene.until("the database knows of every call", written, 10)
        before = await epochs(scene)
        pids = [node["pid"] for node in (await scene.status())["nodes"]]
        await scene.strike(*pids, how=signal.SIGKILL)

        async def began_again() -> bool:
            now = await epochs(scene)
            return all(now.get(shard) == before[shard] + 1 for shard in SHARDS)

        await scene.until("the shards begin again", began_again, 30)
        await scene.whole()

        async def closed() -> bool:
            return len(await scene.asked.history("cdr")) == FEW.calls

        await scene.until("every open call has its record", closed, 15)
        records = await asyncio.to_thread(scene.cluster.ask, "cdr")
        assert {(row["outcome"], row["cause"]) for row in records} == {("failed", "cluster_lost")}
        assert len({row["call"] for row in records}) == FEW.calls
        ledger = (await scene.status())["ledger"]
        assert (ledger["unaccounted"], ledger["waiting"]) == (0, 0)
        assert await scene.asked.rows("calls") == []
        logs = "".join(path.read_text() for path in (scene.cluster.data / "logs").glob("n*.log"))
        assert logs.count('"event": "cluster lost"') == len(SHARDS)
        for phones in scene.phones.values():  # their calls are gone: they hang up
            await phones.ask(stop=True)
        for phones in scene.phones.values():
            await phones.ended(45_000)
