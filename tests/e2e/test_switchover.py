"""A shard is handed from node to node while people call: what their phones notice of it."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.faults import Scene, playing
from tests.e2e.people import FEW, People
from tests.e2e.seen import gap_is_small, nothing_lost

pytestmark = pytest.mark.real

TIMES = 4
PEOPLE = People(waiting=10, talking=20, ringing=0)
"""No phone rings, so none is asked anything twice: a phone that was would answer twice."""


async def repeats(scene: Scene) -> int:
    """How often any phone had to send something again: nothing had come back for 500 ms."""
    total = 0
    for phones in scene.phones.values():
        report = (await phones.ask(report=True))["report"]
        total += report["sip"]["retransmitted"]
    return total


async def test_a_shard_that_moves_under_load_loses_no_call_and_no_phone_repeats_anything(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path, PEOPLE) as scene:
        await scene.come()
        await scene.more(200, rate=40)
        await scene.rest(1.0)
        before = await repeats(scene)
        await scene.mark("fault")
        for n in range(TIMES):
            old, _ = await scene.active("north")
            to = scene.names[(scene.names.index(old) + 1 + n % 2) % len(scene.names)]
            await scene.whole()
            words = ("switchover", "north", "--to", to)
            done = await asyncio.to_thread(scene.cluster.run, *words)
            assert done.returncode == 0, done.stderr
            assert done.stdout == f"shard north moved from {old} to {to}\n"
            assert (await scene.active("north"))[0] == to
        await scene.rest(1.5)
        again = await repeats(scene) - before
        await scene.rest()
        await scene.agents_agree("after the switchovers")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found)
    assert gap_is_small(found.of("fault")), found.line()
    assert again == 0, f"{again} messages had to be repeated; {found.line()}"


async def test_who_orders_what_cannot_be_is_told_why_in_one_line(tmp_path: Path) -> None:
    async with playing(tmp_path, FEW) as scene:

        async def refused(*words: str) -> str:
            done = await asyncio.to_thread(scene.cluster.run, "switchover", *words)
            assert done.returncode == 1, done.stdout
            (line,) = done.stderr.splitlines()
            return line.removeprefix("keepline: ")

        assert await refused("west") == "no shard 'west'; known: north, south"
        assert await refused("north", "--to", "n9") == "no node 'n9'; known: n1, n2, n3"
        assert await refused("north", "--to", "n1") == "shard north is led by n1 already"
