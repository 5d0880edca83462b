"""The store is away and a copy is lost: audio goes on, nothing is acknowledged, all comes back."""

import asyncio
import signal
import sqlite3
from pathlib import Path

import pytest

from sip.uri import Address
from tests.e2e.cluster import own_address, running, until
from tests.e2e.faults import playing
from tests.e2e.people import People
from tests.e2e.raw_phone import RawPhone
from tests.e2e.seen import Findings, gap_is_small, nothing_lost

pytestmark = pytest.mark.real

PEOPLE = People(waiting=20, talking=20, ringing=0)


def is_turned_away(host: str, shard: Address, number: str) -> bool:
    """Does a new call get a 503 now?"""
    with RawPhone(host, shard) as caller:
        caller.send(caller.request("INVITE", number, body=caller.sdp()))
        return any(got.startswith(b"SIP/2.0 503 ") for got in caller.drain(0.3))


def is_taken(host: str, shard: Address, number: str) -> bool:
    with RawPhone(host, shard) as caller:
        return caller.call(number).status == 200


def test_new_calls_are_turned_away_at_once_while_nothing_can_be_committed(tmp_path: Path) -> None:
    host = own_address()
    centre = f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
agents: {{"1001": {{phone: "sip:1001@{host}:7001", queues: [support], state: not_ready}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    with (
        running(tmp_path, centre, nodes=2) as cluster,
        RawPhone(host, (host, 5060)) as waiting,
    ):
        assert waiting.call("4001").status == 200
        _, standby = cluster.standby()
        store = sqlite3.connect(cluster.data / "store.db", isolation_level=None)
        try:
            store.execute("begin immediate")
            cluster.kill(standby, signal.SIGKILL)

            until("a new call gets its 503", lambda: is_turned_away(host, (host, 5060), "4001"))
            waiting.send(probe := waiting.request("OPTIONS", "4001"))
            assert waiting.drain(0.5) == []  # what is not committed is not answered
        finally:
            store.execute("rollback")
            store.close()

        assert waiting.answer_to(probe).status == 200
        until("two copies again", lambda: len(cluster.shard()["in_sync"]) == 2, 30)
        until("a new call is taken", lambda: is_taken(host, (host, 5060), "4001"))
        ledger = cluster.ask("status")["ledger"]
        assert ledger["refused"] >= 1
        assert ledger["unaccounted"] == 0


async def away(folder: Path, seconds: float) -> Findings:
    """The store is locked for so long; half-way a standby is killed."""
    async with playing(folder, PEOPLE) as scene:
        await scene.come()
        await scene.rest(2.0)
        before = {shard["name"]: shard["epoch"] for shard in (await scene.status())["shards"]}
        _, standby = await scene.standby()
        store = sqlite3.connect(scene.cluster.data / "store.db", isolation_level=None)
        try:
            store.execute("begin immediate")
            await scene.mark("store away")
            await scene.more(10, rate=5)  # in_sync is whole: calls go on
            await asyncio.sleep(seconds / 2)
            await scene.strike(standby, how=signal.SIGKILL)
            agent = str(scene.parts[0].first_agent)
            asked = await asyncio.to_thread(scene.cluster.run, "agent", agent, "ready")
            assert asked.returncode == 1  # what is not committed is not told
            await asyncio.sleep(seconds / 2)
            status = await scene.status()
            assert any("has committed nothing for" in alarm for alarm in status["alarms"])
        finally:
            store.execute("rollback")
            store.close()
        await scene.whole()
        await scene.rest()
        after = {shard["name"]: shard["epoch"] for shard in (await scene.status())["shards"]}
        assert after == before  # nobody had to take over
        await scene.agents_agree("after the store came back")
        await scene.finish()
        return await scene.judged()


def all_is_well(found: Findings) -> None:
    nothing_lost(found)
    assert gap_is_small(found.of("store away")), found.line()
    assert gap_is_small(found.of("fault")), found.line()


async def test_audio_goes_on_while_the_store_is_away_and_all_is_well_when_it_returns(
    tmp_path: Path,
) -> None:
    all_is_well(await away(tmp_path, 16))


@pytest.mark.soak
async def test_the_store_may_be_away_for_a_minute(tmp_path: Path) -> None:
    all_is_well(await away(tmp_path, 60))
