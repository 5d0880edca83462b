"""`keepline demo`: a cluster on this machine, people who call it, a fault, and what they saw.

Everything is real: `keepline up` with its nodes and media server, SIP and RTP between processes.
The verdict comes from the simulated phones' own logs; the cluster is only asked which state its
agents are in, to compare that with their phones.
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.scenario import Mix
from node.ask import NoCluster
from node.commanded import CommandFailed
from node.crowds import Crowds
from node.demo_view import View
from node.ground import Ground, GroundFailed, standing
from node.outcome import Options, Outcome
from node.scene import SHARDS, NoNetwork, Part, free_network, parts

FAULTS = ("kill", "stop", "none")

CALLS_A_SECOND = 10
"""For each shard."""

TAKEOVER_MS = 15_000
AFTER_MS = 6_000
"""From the fault to the end of the talks: gaps are measured over 5 s."""

POLL_S = 0.25


class DemoFailed(Exception):
    """The demo could not be run; the text is the one line a person needs."""


def mixes(options: Options) -> list[Mix]:
    """The people of the two shards, each with its share of callers and agents."""
    made = []
    for place in range(len(SHARDS)):
        agents = (options.agents + 1 - place) // 2
        calls = (options.calls + 1 - place) // 2
        ringing = agents // 5
        made.append(Mix(max(0, calls - agents), agents - ringing, ringing))
    return made


class Demo:
    """One run."""

    def __init__(self, options: Options, folder: Path, view: View) -> None:
        self.options = options
        self.folder = folder
        self.view = view
        network = free_network(options.seed)
        self.parts: list[Part] = parts(mixes(options), network, nodes=options.nodes)
        self.crowds = Crowds(folder, self.parts, seed=options.seed, rate=CALLS_A_SECOND)
        self.crowds.on_count = self.counted
        self.problems: list[str] = []
        self.node = ""
        self.takeover_ms = 0

    async def run(self) -> Outcome:
        """The whole run. Raises GroundFailed, CommandFailed, NoCluster."""
        began = time.monotonic()
        nodes = self.options.nodes
        self.view.say(f"starting {nodes} nodes and a media server")
        try:
            async with standing(self.folder, self.parts, nodes=nodes) as ground:
                self.view.status = await ground.ready()
                active = ", ".join(f"{one['name']} on {one['active']}" for one in self.shards())
                self.view.say(f"ready: {active}")
                watching = asyncio.create_task(self.watch(ground))
                try:
                    await self.play(ground)
                finally:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
                await ground.agents_agree(self.crowds.judged().phones, "after the last call")
                await ground.ledger_adds_up()
        finally:
            await self.crowds.close()
        return Outcome(
            verdict=self.crowds.judged(),
            problems=[*self.problems, *self.crowds.problems, *ground.problems],
            node=self.node,
            takeover_ms=self.takeover_ms,
            seconds=round(time.monotonic() - began, 1),
        )

    def shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = self.view.status["shards"]
        return shards

    async def watch(self, ground: Ground) -> None:
        """Keep the picture fresh."""
        while True:
            with contextlib.suppress(NoCluster):
                self.view.status = await ground.found.status(timeout_ms=300)
            await asyncio.sleep(POLL_S)

    def counted(self, people: Mapping[str, int]) -> None:
        """Show what the people do."""
        self.view.people = {
            "waiting": people["waiting"] + people["dialling"],
            "talking": people["talking"],
            "ringing": people["agents_ringing"],
            "over": people["over"],
        }

    async def play(self, ground: Ground) -> None:
        """Calls, the fault, and everything that follows from it."""
        self.view.say(f"{self.options.agents} agents and {self.options.calls} callers come")
        await self.crowds.start()
        if await self.crowds.mixed():
            total = sum((part.mix for part in self.parts), Mix())
            self.view.say(
                f"{total.talking} talk, {total.ringing} phones ring, {total.waiting} wait"
            )
        if self.options.fault != "none":
            await self.fault(ground)
            await ground.agents_agree(await self.crowds.states(), "after the fault")
            await asyncio.sleep(AFTER_MS / 1_000)
        self.view.say("the talks may end now, and whoever waits be served")
        await self.crowds.served()
        self.view.people = {"over": self.options.calls}

    async def fault(self, ground: Ground) -> None:
        """Kill or stop the active node of the first shard, and see who takes over."""
        (shard,) = (one for one in self.shards() if one["name"] == SHARDS[0])
        (node,) = (one for one in self.view.status["nodes"] if one["name"] == shard["active"])
        number = signal.SIGKILL if self.options.fault == "kill" else signal.SIGSTOP
        await self.crowds.tell(mark="fault")
        os.kill(node["pid"], number)
        hit_s = time.monotonic()
        self.node = node["name"]
        self.view.say(f"{number.name} to {self.node}, active for {shard['name']}", "bold red")
        end = hit_s + TAKEOVER_MS / 1_000
        while time.monotonic() < end:
            self.view.status = await ground.found.status(timeout_ms=150)
            now = next((one for one in self.shards() if one["name"] == shard["name"]), shard)
            if now["epoch"] > shard["epoch"] and now["serving"]:
                self.takeover_ms = round((time.monotonic() - hit_s) * 1_000)
                who = f"{now['active']} serves {now['name']}, epoch {now['epoch']}"
                self.view.say(f"{who}, seen {self.takeover_ms} ms after", "bold green")
                return
            await asyncio.sleep(0.02)
        self.problems.append(f"nobody took {shard['name']} over")


def run(options: Options, view: View) -> Outcome:
    """Run the demo. What it wrote is removed, unless something other than the expected was lost.

    Raises DemoFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="keepline-"))
    try:
        with view:
            outcome = asyncio.run(until_told(Demo(options, folder, view)))
    except (NoNetwork, GroundFailed, CommandFailed, NoCluster) as error:
        raise DemoFailed(f"{error}  (logs: {folder})") from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        raise KeyboardInterrupt from None
    if not outcome.is_ok and options.nodes > 1:
        return dataclasses.replace(outcome, logs=str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


async def until_told(demo: Demo) -> Outcome:
    """Run the demo; SIGTERM ends it as Ctrl-C does, with everything it started."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await demo.run()
