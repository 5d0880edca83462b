"""Nodes of this version and of the next understand each other, and are exchanged one by one."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.faults import Scene, playing
from tests.e2e.people import People
from tests.e2e.seen import gap_is_small, nothing_lost

pytestmark = pytest.mark.real

SOME = People(waiting=20, talking=20, ringing=0)
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("next_version.py")))


def of_next_version(scene: Scene) -> list[str]:
    """The nodes that run as the next version, as they say themselves."""
    marks = {name: scene.cluster.data / f"{name}.next" for name in scene.names}
    return [name for name, mark in marks.items() if mark.exists() and mark.read_text()]


async def exchange(scene: Scene, name: str, *, to_next: bool) -> None:
    """Stop a node in order; `up` starts it again as the other version."""
    await scene.mark(f"exchange of {name}")
    mark = scene.cluster.data / f"{name}.next"
    if to_next:
        mark.touch()
    else:
        mark.unlink()
    pid = scene.pid(await scene.status(), name)
    os.kill(pid, signal.SIGTERM)

    async def is_another() -> bool:
        return scene.pid(await scene.status(), name) not in (0, pid)

    await scene.until(f"{name} is another process", is_another, 30)
    await scene.whole()


async def test_an_upgrade_node_by_node_under_load_loses_nothing_and_can_be_taken_back(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path, SOME, command=COMMAND) as scene:
        await scene.come()
        for name in scene.names:
            await scene.more(20, rate=5)
            await exchange(scene, name, to_next=True)
        assert of_next_version(scene) == scene.names
        await scene.agents_agree("after the upgrade")
        for name in scene.names[:2]:  # and back, with records that only the next version knows
            await scene.more(20, rate=5)
            await exchange(scene, name, to_next=False)
        assert of_next_version(scene) == scene.names[2:]
        await scene.agents_agree("after two went back")
        await scene.finish()
        found = await scene.judged()

    nothing_lost(found)
    for name in scene.names:
        assert gap_is_small(found.of(f"exchange of {name}")), found.line()
    logs = "".join(path.read_text() for path in (scene.cluster.data / "logs").glob("n*.log"))
    for trouble in ("record not read", "step undone", "node stops", "hand-over failed"):
        assert f'"event": "{trouble}"' not in logs
