"""The centre changes under real phones, a node dies in between, and nobody loses anything."""

import asyncio
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import own_address, running, until
from tests.e2e.faults import Scene, playing
from tests.e2e.people import People
from tests.e2e.seen import gap_is_small, nothing_lost

pytestmark = pytest.mark.real

PEOPLE = People(waiting=20, talking=20, ringing=0)
SERVED_OUT_S = 60.0
"""The last call ends, and 32 s later nobody's phone repeats anything any more."""


class Desk:
    """An operator with the scene's centre in his editor."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.centre: dict[str, Any] = json.loads(scene.cluster.centre.read_text())
        self.file = scene.folder / "changed.yaml"

    async def apply(self) -> dict[str, Any]:
        self.file.write_text(json.dumps(self.centre))
        words = ("apply", "-f", str(self.file))
        done: dict[str, Any] = await asyncio.to_thread(self.scene.cluster.ask, *words)
        assert done["changed"]
        assert done["behind"] == []
        return done


async def test_three_changes_and_a_death_between_them_cost_nobody_his_call(tmp_path: Path) -> None:
    async with playing(tmp_path, PEOPLE) as scene:
        desk = Desk(scene)
        agents = dict(desk.centre["agents"])
        await scene.come()
        await scene.rest(2.0)

        # Another queue for north: ten wait in the old one. Three who talk are removed.
        talking = {
            row["agent"] for row in await scene.asked.rows("agents") if row["state"] == "talking"
        }
        removed = sorted(talking & {name for name in agents if agents[name]["queues"] == ["north"]})
        desk.centre["queues"]["fresh"] = desk.centre["queues"].pop("north") | {"wrap_up": "300ms"}
        desk.centre["numbers"]["4001"]["queue"] = "fresh"
        for name, agent in agents.items():
            if agent["queues"] == ["north"]:
                desk.centre["agents"][name] = agent | {"queues": ["fresh"]}
        for name in removed[:3]:
            del desk.centre["agents"][name]
        await desk.apply()
        rows = {row["queue"]: row for row in await scene.asked.rows("queues")}
        assert (rows["north"]["waiting"], rows["north"]["removed"]) == (10, True)
        assert rows["fresh"]["removed"] is False
        await scene.agents_agree("after the first change")

        # The active dies, and the next change comes before another one serves.
        _, active = await scene.active("north")
        before = {shard["name"]: shard["epoch"] for shard in (await scene.status())["shards"]}
        struck_s = await scene.strike(active, how=signal.SIGKILL)
        desk.centre["max_calls"] = 1
        desk.centre["queues"]["south"]["wrap_up"] = "200ms"
        await desk.apply()
        await scene.taken_over("north", before["north"], struck_s)
        await scene.rest()
        await scene.agents_agree("after the fault")

        desk.centre["max_calls"] = 500
        desk.centre["numbers"]["4001"]["prompt"] = ""
        assert (await desk.apply())["version"] == 4
        status = await scene.status()
        assert {shard["version"] for shard in status["shards"]} == {4}
        assert (await scene.count())["waiting"] == PEOPLE.waiting

        await scene.finish()
        # Who was removed has finished and is gone; so is the queue that was served out.
        listed = {row["agent"] for row in await scene.asked.rows("agents")}
        assert listed == set(agents) - set(removed[:3])
        assert "north" not in {row["queue"] for row in await scene.asked.rows("queues")}
        desk.centre["agents"] |= {
            name: agents[name] | {"queues": ["fresh"]} for name in removed[:3]
        }
        await desk.apply()
        await scene.whole()
        found = await scene.judged()

    nothing_lost(found)
    assert gap_is_small(found.of("fault")), found.line()


def test_a_removed_shard_serves_its_calls_and_then_lets_its_address_go(tmp_path: Path) -> None:
    sipp = shutil.which("sipp")
    assert sipp, "sipp is missing: apt-get install sip-tester"
    network = own_address().rpartition(".")[0]
    north, south, here = f"{network}.1", f"{network}.2", f"{network}.9"
    alone = f"""
shards: {{north: {{sip: "{north}:5060"}}}}
numbers: {{"4001": {{queue: sales}}, "4002": {{queue: sales}}}}
queues: {{sales: {{shard: north}}}}
"""
    both = f"""
shards: {{north: {{sip: "{north}:5060"}}, south: {{sip: "{south}:5060"}}}}
numbers: {{"4001": {{queue: sales}}, "4002": {{queue: support, prompt: ""}}}}
queues: {{sales: {{shard: north}}, support: {{shard: south}}}}
"""
    with running(tmp_path, both) as cluster:
        words = ["-nostdin", "-trace_err", "-timeout", "90", "-timeout_error", "-i", here]
        uac = subprocess.Popen(
            [sipp, "-sn", "uac", "-s", "4002", f"{south}:5060", *words, "-p", "7100", "-m", "5",
             "-d", "20000"],
            cwd=tmp_path, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until("they wait", lambda: cluster.shard("south")["waiting"] == 5)
            changed = tmp_path / "alone.yaml"
            changed.write_text(alone)
            done = cluster.run("apply", "-f", str(changed))
            assert "- shard south, when its last call has ended" in done.stdout
            row = cluster.shard("south")
            assert (row["removed"], row["waiting"], row["serving"]) == (True, 5, True)
            # Its number is north's by now: who dials it at the old address is passed on.
            late = subprocess.run(
                [sipp, "-sn", "uac", "-s", "4002", f"{south}:5060", *words, "-p", "7200", "-m", "1",
                 "-d", "500"],
                cwd=tmp_path, stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            assert late.returncode == 0
            assert uac.wait(90) == 0
        finally:
            if uac.poll() is None:
                uac.kill()
                uac.wait()
        until(
            "it is closed",
            lambda: [shard["name"] for shard in cluster.ask("status")["shards"]] == ["north"],
            SERVED_OUT_S,
        )
        logs = "".join(log.read_text() for log in (cluster.data / "logs").glob("n*.log"))
        assert logs.count('"event": "shard closed"') == 1
        cdrs = cluster.ask("cdr")
        assert len(cdrs) == 6
        assert {cdr["outcome"] for cdr in cdrs} <= {"abandoned", "ended_before_queue"}
        assert cluster.ask("status")["ledger"]["unaccounted"] == 0
        # Nobody listens there any more; and a cluster that starts again knows nothing of it.
        assert cluster.stop() == 0
        cluster.centre.write_text(alone)
        cluster.start()
        assert [shard["name"] for shard in cluster.ask("status")["shards"]] == ["north"]
