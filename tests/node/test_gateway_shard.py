"""One site's shard of alarms on a node: who is told what, when, and how often."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway_mgmt.access import Community
from gateway_mgmt.alarms import effects, inputs
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.ds1 import INTERVAL_MS, Counters, Row
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.courier import nobody_can_tell
from gateway_mgmt.io.watch import Report
from gateway_mgmt.known import Known
from gateway_mgmt.observation import Observation
from gateway_mgmt.reading import Reading
from gateway_mgmt.receivers import Receiver, Webhook
from gateway_mgmt.trunks import Impact, TrunkState
from node.gateway_shard import GatewayShard, Watched
from tests.cluster.hosts import until
from tests.gateway_mgmt.receivers import Http

STATE = TrunkState("bsnl-pri", "out", 0, 30, order=7)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_KEY", "k")


def notice(*waiting: str) -> Notice:
    return Notice(
        "a:1", "a", 1, "raised", "tg1/1", "los", "critical", 0, 0, Impact(), list(waiting)
    )


def hook(server: Http) -> Webhook:
    return Webhook(f"{server.url}/hook", "env:T_KEY")


class Desk:
    """What the shard says, and whether shards of calls take it."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.told: list[TrunkState] = []
        self.answers: list[bool | Exception] = []

    async def tell(self, shard: str, id: str, state: TrunkState) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        if answer:
            self.told.append(state)
        return answer

    async def standing(self, shard: str) -> Sequence[Message]:
        return []


@asynccontextmanager
async def serving(desk: Desk, watched: Watched) -> AsyncIterator[GatewayShard]:
    shard = GatewayShard(
        "delhi",
        engine_id="80007ed90501",
        post=lambda name, event: desk.said.append(event),
        tell=desk.tell,
        callers=nobody_can_tell,
        standing=desk.standing,
    )
    shard.serve(lambda: shard.declare(watched))
    try:
        yield shard
    finally:
        await shard.close()


def told(desk: Desk) -> list[inputs.Told]:
    return [one for one in desk.said if isinstance(one, inputs.Told)]


async def test_a_receiver_that_moves_is_brought_what_waits_and_nobody_else_has_it_twice() -> None:
    desk = Desk()
    with Http(503, 503, 503) as old, Http() as new, Http() as other:
        receivers: dict[str, Receiver] = {"noc": hook(old), "desk": hook(other)}
        async with serving(desk, Watched(receivers=receivers)) as shard:
            shard.perform(effects.Deliver("notice/1", notice("noc", "desk")))
            await until(lambda: bool(old.got and other.got))
            shard.declare(Watched(receivers=receivers | {"noc": hook(new)}))
            await until(lambda: bool(new.got))
            await asyncio.sleep(0.3)
            assert len(other.got) == 1
            sent = [one.receiver for one in desk.said if isinstance(one, inputs.Sent)]
            assert sorted(sent) == ["desk", "noc"]


async def test_a_notice_waits_for_a_receiver_that_this_node_has_not_heard_of_yet() -> None:
    desk = Desk()
    with Http() as server:
        async with serving(desk, Watched()) as shard:
            shard.perform(effects.Deliver("notice/1", notice("noc")))
            shard.declare(Watched(receivers={"noc": hook(server)}))
            await until(lambda: bool(server.got))


async def test_a_trunk_is_told_until_it_is_committed_also_to_a_shard_not_heard_of_yet() -> None:
    desk = Desk()
    desk.answers = [False, False]
    async with serving(desk, Watched()) as shard:
        shard.perform(effects.Tell("main", "t/7", STATE))
        await until(lambda: bool(told(desk)))
        assert told(desk) == [inputs.Told("main", "bsnl-pri", 7)]
        assert desk.told == [STATE]


async def test_a_trunk_is_told_again_after_a_fault_of_the_way() -> None:
    desk = Desk()
    desk.answers = [RuntimeError("closed")]
    async with serving(desk, Watched(shards=("main",))) as shard:
        shard.perform(effects.Tell("main", "t/7", STATE))
        await until(lambda: bool(not desk.answers))
        await asyncio.sleep(0.05)
        shard.perform(effects.Tell("main", "t/7", STATE))
        await until(lambda: bool(told(desk)))


async def test_nobody_is_told_for_a_shard_that_is_declared_no_more() -> None:
    desk = Desk()
    desk.answers = [False] * 1_000
    async with serving(desk, Watched(shards=("main",))) as shard:
        shard.perform(effects.Tell("main", "t/7", STATE))
        await until(lambda: bool(len(desk.answers) < 1_000))
        shard.declare(Watched())
        await asyncio.sleep(1.0)
        left = len(desk.answers)
        await asyncio.sleep(1.5)  # it would have been told again by now
        assert len(desk.answers) == left
        assert told(desk) == []


async def test_what_is_asked_of_a_shard_that_has_left_is_not_done() -> None:
    desk = Desk()
    async with serving(desk, Watched(shards=("main",))) as shard:
        shard.release()
        shard.perform(effects.Tell("main", "t/7", STATE))
        await asyncio.sleep(0.1)
        assert desk.told == []


async def test_a_process_that_starts_again_reads_the_newest_interval_of_each_line_anew() -> None:
    """Alarms are decided by it; the others are known, and not kept twice."""
    desk = Desk()
    async with serving(desk, Watched()) as shard:
        known = shard.known["tg1"] = Known()
        for n in (1, 2, 3, 3):
            known.add(1, Row(n * INTERVAL_MS, Counters(es=n)))

        assert shard._configure().known_ms == {"tg1": {1: [INTERVAL_MS, 2 * INTERVAL_MS]}}


async def test_what_is_odd_about_a_device_stays_until_it_is_read_again() -> None:
    desk = Desk()
    tg1 = Device("delhi", "generic", ("10.0.0.1", 161), Community("env:T_KEY"), spans={1: Span(1)})
    async with serving(desk, Watched(devices={"tg1": tg1})) as shard:
        odd = "snmp.address: its v3 engine id 01 is that of tg2; one must change"
        shard._heard(Report("tg1", 1, reading=Reading("tg1", 1), trouble=odd))
        shard._heard(Report("tg1", 2, rows=[(1, Row(0, Counters()))]))
        shard._heard(Report("tg1", 3, [Observation("tg1", "sip_down", False, 3)]))
        assert shard.known["tg1"].trouble == odd
        shard._heard(Report("tg1", 4, reading=Reading("tg1", 4)))
        assert shard.known["tg1"].trouble == ""
