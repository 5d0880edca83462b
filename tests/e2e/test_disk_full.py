"""The disk of every node is full at once: store, journals, database and logs have no room."""

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from tests.e2e.faults import Scene, playing
from tests.e2e.people import People
from tests.e2e.seen import gap_is_small, nothing_lost
from tests.small_disk import small_disk

pytestmark = pytest.mark.real

PEOPLE = People(waiting=20, talking=20, ringing=0)
FULL_S = 8.0
CALM_S = 20.0


def fill(file: Path) -> None:
    """Leave no byte on its disk."""
    with file.open("wb", buffering=0) as rubbish:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    rubbish.write(bytes(size))


async def is_calm(scene: Scene) -> bool:
    return not (await scene.status())["alarms"]


async def test_a_full_disk_costs_no_call_and_is_caught_up_with_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "data", "64m") as disk:
        async with playing(tmp_path, PEOPLE) as scene:
            await scene.come()
            await scene.rest(2.0)
            before = await scene.status()

            fill(disk / "rubbish")
            await scene.mark("disk full")
            await scene.more(10, rate=5)
            await asyncio.sleep(FULL_S)
            alarms = (await scene.status())["alarms"]
            for name in scene.names:
                journal = f"shard north: {name} keeps no journal of it: No space left on device"
                assert journal in alarms
            assert any("events and CDRs wait in memory, events.db: " in alarm for alarm in alarms)
            (disk / "rubbish").unlink()

            name, active = await scene.active("north")
            await scene.rest()
            struck_s = await scene.strike(active, how=signal.SIGKILL)
            for shard in before["shards"]:
                if shard["active"] == name:
                    await scene.taken_over(shard["name"], shard["epoch"], struck_s)
            await scene.whole()
            await scene.until("no alarm stands", lambda: is_calm(scene), CALM_S)
            await scene.agents_agree("after there was room again")
            await scene.finish()
            found = await scene.judged()

    nothing_lost(found)
    assert gap_is_small(found.of("disk full")), found.line()
    assert gap_is_small(found.of("fault")), found.line()
