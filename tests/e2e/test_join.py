"""A node joins a busy cluster and another one drains: what the people's phones notice of it."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.ask import cluster
from tests.cluster.hosts import free_ports
from tests.e2e.cluster import KEEPLINE
from tests.e2e.faults import Scene
from tests.e2e.people import FEW
from tests.e2e.seen import gap_is_small, nothing_lost

pytestmark = pytest.mark.real

END_S = 10


@contextlib.asynccontextmanager
async def playing(folder: Path) -> AsyncIterator[Scene]:
    """A scene whose nodes need not be up for long before shards move to them."""
    scene = Scene(folder, FEW)
    scene.cluster.options = ("--steady", "1s")
    try:
        async with cluster(scene.cluster.data, None) as found:
            await scene.start(found)
            yield scene
    finally:
        await scene.end()


@contextlib.contextmanager
def joined(scene: Scene, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One node more, started by hand: it knows the data directory and itself."""
    data = scene.cluster.data
    (port,) = free_ports(1)
    words = ["node", f"--name={name}", f"--data={data}", f"--centre={data / 'centre.yaml'}"]
    words += [f"--listen=127.0.0.1:{port}", "--steady=1s", "--site=annex"]
    process = subprocess.Popen([*KEEPLINE, *words], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def run(scene: Scene, *words: str) -> str:
    done = await asyncio.to_thread(scene.cluster.run, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_node_joins_by_its_name_another_drains_and_no_call_is_lost(tmp_path: Path) -> None:
    async with playing(tmp_path) as scene:
        await scene.come()
        await scene.more(200, rate=10)
        await scene.mark("fault")
        with joined(scene, "n4") as n4:
            await moves(scene, n4)
        await scene.finish()
        findings = await scene.judged()

    nothing_lost(findings)
    assert gap_is_small(findings.of("fault")), findings.line()


async def moves(scene: Scene, n4: "subprocess.Popen[bytes]") -> None:
    """It gets a copy; the active of a shard drains and takes it back; it stops."""

    async def holds_a_copy() -> bool:
        shards = (await scene.status())["shards"]
        return any("n4" in shard["in_sync"] for shard in shards)

    await scene.until("n4 holds a copy", holds_a_copy, 20)
    found = {node["name"]: node for node in (await scene.status())["nodes"]}
    assert found["n4"]["alive"]
    assert found["n4"]["site"] == "annex"

    name, _ = await scene.active("north")
    said = await run(scene, "drain", name)
    assert said.startswith(f"{name} is drained: north to ")

    async def holds_nothing() -> bool:
        status = await scene.status()
        return all(
            name != shard["active"] and name not in shard["in_sync"] and not shard["moving"]
            for shard in status["shards"]
        )

    await scene.until(f"{name} holds nothing", holds_nothing, 20)
    assert "up, drains" in await run(scene, "status")
    await scene.whole()
    assert await run(scene, "undrain", name) == f"{name} drains no more\n"

    async def is_back() -> bool:  # it is north's preferred node
        return (await scene.active("north"))[0] == name

    await scene.until(f"north is back on {name}", is_back, 20)
    await scene.rest()
    await scene.agents_agree("after all moves")

    n4.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(n4.wait, END_S) == 0

    async def is_unknown() -> bool:
        return "n4" not in [node["name"] for node in (await scene.status())["nodes"]]

    await scene.until("n4 is missed by nobody", is_unknown, 10)
