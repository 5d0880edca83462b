"""`keepline demo`: a cluster on this machine, people who call it, a fault, and what they saw.

Everything is real: `keepline up` with its nodes and media server, SIP and RTP between processes.
The verdict comes from the simulated phones' own logs; the cluster is only asked which state its
agents are in, to compare that with their phones.
"""

import asyncio
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest import facts
from loadtest.verdict import PhoneState, Verdict, differing, judge
from node.api import Refused, Unreachable
from node.ask import Cluster, NoCluster, cluster
from node.demo_view import View
from node.directory import Directory
from node.outcome import Options, Outcome
from node.phones import Phones, PhonesFailed
from node.up import keepline, last_line

FAULTS = ("kill", "stop", "none")

SHARDS = ("north", "south")
SIP_PORT = 5060
FIRST_AGENT_PORT = 7_001
CALLS_A_SECOND = 10
"""For each shard."""

READY_MS = 30_000
STILL_MS = 5_000
"""When nothing changed for so long, no more people will talk, ring or wait than do."""
TAKEOVER_MS = 15_000
AFTER_MS = 6_000
"""From the fault to the end of the talks: gaps are measured over 5 s."""
AGREE_MS = 5_000
"""How long the cluster may take to have its agents in the state their phones are in."""
IDLE_MS = 10_000
"""Nothing happened on any phone for so long: nothing will."""
STOP_MS = 25_000
ENDING_MS = 45_000

POLL_S = 0.25


class DemoFailed(Exception):
    """The demo could not be run; the text is the one line a person needs."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One shard and the people who call it."""

    shard: str
    number: str
    sip: str
    phones: str
    """The address of callers and agents."""
    calls: int
    agents: int
    first_agent: int
    first_voice: int
    preferred: list[str]

    @property
    def ringing(self) -> int:
        return self.agents // 5

    @property
    def waiting(self) -> int:
        return max(0, self.calls - self.agents)


def parts(options: Options, network: str) -> list[Part]:
    """The two shards, each with its share of callers and agents."""
    names = [f"n{number + 1}" for number in range(options.nodes)]
    made = []
    for place, shard in enumerate(SHARDS):
        agents = (options.agents + 1 - place) // 2
        turned = place % options.nodes
        made.append(
            Part(
                shard=shard,
                number=str(4001 + place),
                sip=f"{network}.{1 + place}",
                phones=f"{network}.{11 + place}",
                calls=(options.calls + 1 - place) // 2,
                agents=agents,
                first_agent=1001 + 1000 * place,
                first_voice=place * options.calls,
                preferred=names[turned:] + names[:turned],
            )
        )
    return made


def centre_yaml(shards: Sequence[Part]) -> str:
    """The centre of these parts."""
    lines = ["shards:"]
    for part in shards:
        preferred = ", ".join(part.preferred)
        lines.append(f'  {part.shard}: {{sip: "{part.sip}:{SIP_PORT}", preferred: [{preferred}]}}')
    lines.append("numbers:")
    lines += [f'  "{part.number}": {{queue: {part.shard}}}' for part in shards]
    lines.append("queues:")
    for part in shards:
        times = "offer_timeout: 20s, wrap_up: 500ms"
        lines.append(f"  {part.shard}: {{shard: {part.shard}, {times}}}")
    lines.append("agents:")
    for part in shards:
        for n in range(part.agents):
            name, port = part.first_agent + n, FIRST_AGENT_PORT + n
            phone = f"sip:{name}@{part.phones}:{port}"
            lines.append(f'  "{name}": {{phone: "{phone}", queues: [{part.shard}]}}')
    return "\n".join(lines) + "\n"


def phone_words(part: Part, seed: int) -> list[str]:
    """The command line of the people of one part."""
    talking = part.agents - part.ringing
    last = part.first_agent + part.agents - 1
    return [
        f"--target={part.sip}:{SIP_PORT}",
        f"--number={part.number}",
        f"--rate={CALLS_A_SECOND}",
        f"--agents={part.first_agent}-{last}@{part.phones}:{FIRST_AGENT_PORT}+",
        f"--scenario=talking={talking},ringing={part.ringing},waiting={part.waiting}",
        "--talk=1500-3500ms",
        "--ring=200-600ms",
        f"--seed={seed}",
        f"--address={part.phones}",
        f"--first-voice={part.first_voice}",
    ]


def free_network(seed: int) -> str:
    """Three parts of a loopback network in which the shards' ports are free. Raises DemoFailed."""
    draw = random.Random(f"{seed} {os.getpid()}")  # to get out of others' way, not a secret
    for _ in range(20):
        network = f"127.{draw.randint(16, 250)}.{draw.randint(1, 250)}"
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for place in range(len(SHARDS)):
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind((f"{network}.{1 + place}", SIP_PORT))
            return network
    raise DemoFailed("no loopback address has its SIP port free")


class Demo:
    """One run."""

    def __init__(self, options: Options, folder: Path, view: View) -> None:
        self.options = options
        self.folder = folder
        self.view = view
        self.data = folder / "data"
        self.parts = parts(options, free_network(options.seed))
        self.phones = [
            Phones(folder, part.shard, phone_words(part, options.seed + place))
            for place, part in enumerate(self.parts)
        ]
        self.problems: list[str] = []
        self.node = ""
        self.takeover_ms = 0

    async def run(self) -> Outcome:
        """The whole run. Raises DemoFailed, PhonesFailed, NoCluster."""
        began = time.monotonic()
        self.view.say(f"starting {self.options.nodes} nodes and a media server")
        up = self.start_cluster()
        try:
            async with cluster(self.data, None) as found:
                await self.ready(found, up)
                watching = asyncio.create_task(self.watch(found))
                try:
                    await self.play(found)
                finally:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
                await self.agents_agree(found, self.last_states(), "after the last call")
                await self.ledger_adds_up(found)
        finally:
            for phones in self.phones:
                await phones.close()
            await self.stop_cluster(up)
        return Outcome(
            verdict=self.judged(),
            problems=self.problems,
            node=self.node,
            takeover_ms=self.takeover_ms,
            seconds=round(time.monotonic() - began, 1),
        )

    def start_cluster(self) -> subprocess.Popen[bytes]:
        centre = self.folder / "centre.yaml"
        centre.write_text(centre_yaml(self.parts))
        nodes = f"--nodes={self.options.nodes}"
        with (self.folder / "up.log").open("wb") as log:
            return subprocess.Popen(
                keepline("up", f"--centre={centre}", nodes, f"--data={self.data}"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the demo, and the demo ends this
            )

    async def ready(self, found: Cluster, up: subprocess.Popen[bytes]) -> None:
        waiting = asyncio.create_task(found.ready(READY_MS))
        while not waiting.done():
            if up.poll() is not None:
                waiting.cancel()
                raise DemoFailed(f"the cluster did not start: {last_line(self.folder / 'up.log')}")
            await asyncio.wait([waiting], timeout=0.2)
        self.view.status = await waiting
        active = ", ".join(f"{one['name']} on {one['active']}" for one in self.shards())
        self.view.say(f"ready: {active}")

    def shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = self.view.status["shards"]
        return shards

    async def watch(self, found: Cluster) -> None:
        """Keep the picture fresh."""
        while True:
            with contextlib.suppress(NoCluster):
                self.view.status = await found.status(timeout_ms=300)
            await asyncio.sleep(POLL_S)

    async def play(self, found: Cluster) -> None:
        """Calls, the fault, and everything that follows from it."""
        self.view.say(f"{self.options.agents} agents and {self.options.calls} callers come")
        for phones in self.phones:
            await phones.start()
        await self.mixed()
        if self.options.fault != "none":
            await self.fault(found)
            await self.agents_agree(found, await self.states(), "after the fault")
            await asyncio.sleep(AFTER_MS / 1_000)
        self.view.say("the talks may end now, and whoever waits be served")
        for phones in self.phones:
            await phones.ask(release=True)
        await self.served()

    async def people(self) -> dict[str, int]:
        """How many people do what, on all phones; those of an ended simulation are over."""
        total = dict.fromkeys(("to_come", "dialling", "waiting", "talking", "over"), 0)
        total["agents_ringing"] = 0
        for part, phones in zip(self.parts, self.phones, strict=True):
            if phones.is_over:
                total["over"] += part.calls
                continue
            state = (await phones.ask(state=True))["state"]
            for name in total:
                total[name] += state[name]
        self.view.people = {
            "waiting": total["waiting"] + total["dialling"],
            "talking": total["talking"],
            "ringing": total["agents_ringing"],
            "over": total["over"],
        }
        return total

    async def mixed(self) -> None:
        """Wait until everybody came and talks, rings or waits as the scenario wants it."""
        talking = sum(part.agents - part.ringing for part in self.parts)
        ringing = sum(part.ringing for part in self.parts)
        waiting = sum(part.waiting for part in self.parts)
        people: dict[str, int] = {}
        changed = time.monotonic()
        while time.monotonic() - changed < STILL_MS / 1_000:
            last, people = people, await self.people()
            if people != last:
                changed = time.monotonic()
            if people["talking"] >= talking and people["waiting"] >= waiting + ringing:
                self.view.say(f"{talking} talk, {ringing} phones ring, {waiting} wait")
                return
            await asyncio.sleep(POLL_S)
        self.problems.append(
            f"before any fault only {people['talking']} of {talking} talked and "
            f"{people['waiting']} of {waiting + ringing} waited"
        )

    async def fault(self, found: Cluster) -> None:
        """Kill or stop the active node of the first shard, and see who takes over."""
        (shard,) = (one for one in self.shards() if one["name"] == SHARDS[0])
        (node,) = (one for one in self.view.status["nodes"] if one["name"] == shard["active"])
        number = signal.SIGKILL if self.options.fault == "kill" else signal.SIGSTOP
        for phones in self.phones:
            await phones.ask(mark="fault")
        os.kill(node["pid"], number)
        hit_s = time.monotonic()
        self.node = node["name"]
        self.view.say(f"{number.name} to {self.node}, active for {shard['name']}", "bold red")
        end = hit_s + TAKEOVER_MS / 1_000
        while time.monotonic() < end:
            self.view.status = await found.status(timeout_ms=150)
            now = next((one for one in self.shards() if one["name"] == shard["name"]), shard)
            if now["epoch"] > shard["epoch"] and now["serving"]:
                self.takeover_ms = round((time.monotonic() - hit_s) * 1_000)
                who = f"{now['active']} serves {now['name']}, epoch {now['epoch']}"
                self.view.say(f"{who}, seen {self.takeover_ms} ms after", "bold green")
                return
            await asyncio.sleep(0.02)
        self.problems.append(f"nobody took {shard['name']} over")

    async def states(self) -> list[PhoneState]:
        """The agents' phones at this moment."""
        found = []
        for phones in self.phones:
            if not phones.is_over:
                report = (await phones.ask(report=True))["report"]
                found += [PhoneState(**phone) for phone in report["verdict"]["phones"]]
        return found

    def last_states(self) -> list[PhoneState]:
        """The agents' phones at the end."""
        return self.judged().phones

    async def agents_agree(self, found: Cluster, phones: Sequence[PhoneState], when: str) -> None:
        """Is every agent in the state his phone is in? What differs becomes a problem."""
        end = time.monotonic() + AGREE_MS / 1_000
        while True:
            listed: list[dict[str, Any]] = []
            with contextlib.suppress(Unreachable, Refused):
                listed = await found.rows("agents")
            wrong = differing(phones, listed)
            if not wrong:
                return
            if time.monotonic() > end:
                more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
                self.problems.append(f"{when}, agent {wrong[0]}{more}")
                return
            await asyncio.sleep(POLL_S)

    async def served(self) -> None:
        """Wait for the end of all calls; when nothing goes on any more, end them."""
        last: dict[str, int] = {}
        changed = time.monotonic()
        while not all(phones.is_over for phones in self.phones):
            try:
                people = await self.people()
            except PhonesFailed:  # ended between two looks; `ended` tells how
                break
            if people != last:
                last, changed = people, time.monotonic()
            if time.monotonic() - changed > IDLE_MS / 1_000:
                self.view.say("nobody is served any more: everybody hangs up", "red")
                for phones in self.phones:
                    if not phones.is_over:
                        await phones.ask(stop=True)
                break
            await asyncio.sleep(POLL_S)
        for phones in self.phones:
            await phones.ended(ENDING_MS)
        self.view.people = {"over": self.options.calls}

    async def ledger_adds_up(self, found: Cluster) -> None:
        ledger = (await found.status())["ledger"]
        if ledger["unaccounted"]:
            self.problems.append(f"{ledger['unaccounted']} calls are in no class of the ledger")

    def judged(self) -> Verdict:
        """The verdict from all phones' logs."""
        log: list[facts.AnyFact] = []
        for phones in self.phones:
            log += facts.read(phones.log.read_bytes())
        return judge(log)

    async def stop_cluster(self, up: subprocess.Popen[bytes]) -> None:
        """Stop everything, by force what does not end."""
        up.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(up.wait, STOP_MS / 1_000)
        if up.poll() is None:
            up.kill()
            up.wait()
        for pid, _ in Directory(self.data).holders():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def run(options: Options, view: View) -> Outcome:
    """Run the demo. What it wrote is removed, unless something other than the expected was lost.

    Raises DemoFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="keepline-"))
    try:
        with view:
            outcome = asyncio.run(until_told(Demo(options, folder, view)))
    except (DemoFailed, PhonesFailed, NoCluster) as error:
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
