"""A node dies or hangs while people wait, talk and are rung for: what their phones say of it."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.faults import Scene, playing
from tests.e2e.people import ALL, People
from tests.e2e.seen import DELAY_MS, Findings, gap_is_small, nothing_lost

pytestmark = pytest.mark.real


async def an_active(scene: Scene) -> tuple[str, int]:
    return await scene.active("north")


async def a_standby(scene: Scene) -> tuple[str, int]:
    return await scene.standby()


async def fault(
    folder: Path,
    whom: Callable[[Scene], Awaitable[tuple[str, int]]],
    how: signal.Signals,
    *,
    new_calls: bool,
    seed: int,
    people: People = ALL,
) -> Findings:
    """One fault in the middle of everything."""
    async with playing(folder, people, seed=seed) as scene:
        await scene.come()
        name, pid = await whom(scene)
        before = {shard["name"]: shard for shard in (await scene.status())["shards"]}
        if new_calls:
            await scene.more(160, rate=20)
            await scene.rest(2.5)
        struck_s = await scene.strike(pid, how=how)
        for shard, was in before.items():
            if was["active"] == name:
                await scene.taken_over(shard, was["epoch"], struck_s)
        await scene.rest()
        await scene.agents_agree("after the fault")
        scene.resume(pid)
        await scene.finish()
        await scene.whole()
        return await scene.judged()


FAULTS = {
    "killed_active": (an_active, signal.SIGKILL, False),
    "hung_active": (an_active, signal.SIGSTOP, False),
    "killed_active_under_20_new_calls_a_second": (an_active, signal.SIGKILL, True),
    "killed_standby": (a_standby, signal.SIGKILL, True),
    "hung_standby": (a_standby, signal.SIGSTOP, True),
}


async def no_fault_is_noticed(folder: Path, name: str, seed: int) -> None:
    whom, how, new_calls = FAULTS[name]
    found = await fault(folder, whom, how, new_calls=new_calls, seed=seed)
    nothing_lost(found)
    assert gap_is_small(found.of("fault")), found.line()
    if whom is a_standby:
        for what, answers in found.delays.items():
            assert answers.before, what
            assert answers.after, what
            assert answers.added_ms <= DELAY_MS, found.line()


@pytest.mark.parametrize("name", FAULTS)
async def test_nobody_notices(name: str, tmp_path: Path) -> None:
    await no_fault_is_noticed(tmp_path, name, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
@pytest.mark.parametrize("name", FAULTS)
async def test_nobody_notices_ten_times(name: str, seed: int, tmp_path: Path) -> None:
    await no_fault_is_noticed(tmp_path, name, seed=seed)
