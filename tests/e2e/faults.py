"""Simulated people on a real cluster, a fault, and what the people's phones say of it.

A scene is one run: two shards that are active on different nodes, people who wait, talk and are
rung for on both, something that happens to the cluster, and then the end of every call. Findings
come from the phones' own logs; the cluster is asked only for what is compared with them.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from loadtest import facts
from loadtest.verdict import FAULT_MS, PhoneState, differing, judge
from node.api import Refused, Unreachable
from node.ask import Cluster as Asked
from node.ask import NoCluster, cluster
from node.commanded import CommandFailed
from node.directory import Directory
from node.phones import Phones
from tests.e2e.cluster import KEEPLINE, Cluster, own_address
from tests.e2e.load import Load
from tests.e2e.people import People, centre_of, parts
from tests.e2e.seen import Findings, delays

PHONES_PRIORITY = 1
"""Real-time, where permitted, below the media server's: phones are machines of their own."""

TAKEOVER_S = 15.0
WHOLE_S = 45.0
"""Until a node that was started again has its copies."""
AGREE_S = 8.0
STILL_S = 6.0
IDLE_S = 15.0
ENDING_S = 45.0
POLL_S = 0.25


class Scene:
    """One run on a cluster of its own. Use it as `async with playing(...)`."""

    def __init__(
        self,
        folder: Path,
        people: People,
        *,
        seed: int = 1,
        nodes: int = 3,
        command: Sequence[str] = KEEPLINE,
        options: Sequence[str] = (),
    ) -> None:
        """`options`: more of them for `up`."""
        self.folder = folder
        network = own_address().rpartition(".")[0]
        self.names = [f"n{number + 1}" for number in range(nodes)]
        self.parts = parts(people, network, self.names)
        self.people = people
        self.cluster = Cluster(
            folder, centre_of(self.parts), nodes=nodes, command=command, options=options
        )
        self.phones = {
            part.shard: Phones(folder, part.shard, part.words(seed + place))
            for place, part in enumerate(self.parts)
        }
        self.asked: Asked
        self.fresh = 0
        self.problems: list[str] = []
        self.takeover_ms: dict[str, int] = {}
        self._load = Load()

    # -- beginning and end -------------------------------------------------------------------------

    async def start(self, found: Asked) -> None:
        """Start the cluster; every shard must be active where it prefers to be."""
        self.asked = found
        self.cluster.start(wait=False)
        await self.ready()

    async def ready(self) -> None:
        """The cluster takes calls, its copies are whole, its shards are where they prefer to be."""
        await self.asked.ready(30_000)
        await self.whole()
        preferred = {part.shard: part.preferred[0] for part in self.parts}

        async def are_there() -> bool:
            status = await self.status()
            return {one["name"]: one["active"] for one in status["shards"]} == preferred

        # A node that started late gets them back once it has been up for 30 s.
        await self.until("every shard is where it prefers to be", are_there, WHOLE_S)

    async def end(self) -> None:
        """End everybody and everything."""
        for phones in self.phones.values():
            await phones.close()
        await asyncio.to_thread(self.cluster.destroy)

    # -- what the cluster says ---------------------------------------------------------------------

    async def status(self, timeout_ms: int = 500) -> dict[str, Any]:
        return await self.asked.status(timeout_ms=timeout_ms)

    async def active(self, shard: str) -> tuple[str, int]:
        """Name and pid of the shard's active node."""
        status = await self.status()
        name = next(one for one in status["shards"] if one["name"] == shard)["active"]
        return name, self.pid(status, name)

    async def standby(self) -> tuple[str, int]:
        """Name and pid of a node that is active for no shard."""
        status = await self.status()
        actives = {shard["active"] for shard in status["shards"]}
        name = next(node["name"] for node in status["nodes"] if node["name"] not in actives)
        return name, self.pid(status, name)

    def pid(self, status: dict[str, Any], name: str) -> int:
        return int(next(node for node in status["nodes"] if node["name"] == name)["pid"])

    def media_pid(self) -> int:
        holders = Directory(self.cluster.data).holders()
        return next(pid for pid, what in holders if what == "media server")

    def processes(self) -> dict[str, list[int]]:
        """All our processes by what they are."""
        found: dict[str, list[int]] = {
            "phones": [phones.pid for phones in self.phones.values() if not phones.is_over],
            "media": [],
            "nodes": [],
        }
        for pid, what in Directory(self.cluster.data).holders():
            found["media" if what == "media server" else "nodes"].append(pid)
        return found

    async def until(self, what: str, fact: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Wait for a fact."""
        end = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(NoCluster, Unreachable, Refused):
                if await fact():
                    return
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout_s} s: {what}")
            await asyncio.sleep(POLL_S)

    async def whole(self) -> None:
        """Wait until every copy is: all nodes are alive and hold all shards."""

        async def is_whole() -> bool:
            status = await self.status()
            alive = all(node["alive"] for node in status["nodes"])
            serving = len(status["shards"]) == len(self.parts) and all(
                shard["serving"] and shard["active"] for shard in status["shards"]
            )
            return alive and serving and status["can_lose"] == len(self.names) - 1

        await self.until("copies are whole", is_whole, WHOLE_S)

    async def agents_agree(self, when: str) -> None:
        """Is every agent in the state his phone is in? By the cluster's API, without a process."""
        wrong: list[str] = []
        end = time.monotonic() + AGREE_S
        while time.monotonic() < end:
            with contextlib.suppress(Unreachable, Refused):
                wrong = differing(await self.states(), await self.asked.rows("agents"))
                if not wrong:
                    return
            await asyncio.sleep(POLL_S)
        self.problems.append(f"{when}, {len(wrong)} agents differ: {wrong[:3]}")

    # -- what the phones do ------------------------------------------------------------------------

    async def come(self) -> None:
        """Everybody comes and talks, rings or waits."""
        for phones in self.phones.values():
            await phones.start()
            await phones.ask(state=True)  # its first work is done
            self.prefer(phones)
        wanted = self.people
        last: dict[str, int] = {}
        changed = time.monotonic()
        while time.monotonic() - changed < STILL_S:
            people = await self.count()
            if people != last:
                last, changed = people, time.monotonic()
            waits = wanted.waiting + wanted.ringing
            if (people["talking"], people["waiting"]) == (wanted.talking, waits):
                assert people["agents_ringing"] == wanted.ringing
                return
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"wanted {wanted}, and there are {last}")

    def prefer(self, phones: Phones) -> None:
        """Let phones go before the cluster where permitted: they are machines of their own."""
        pid = phones.pid
        with contextlib.suppress(PermissionError):
            policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(pid, policy, os.sched_param(PHONES_PRIORITY))

    async def count(self) -> dict[str, int]:
        """How many people do what."""
        total = dict.fromkeys(
            ("to_come", "dialling", "waiting", "talking", "over", "agents_ringing"), 0
        )
        for phones in self.phones.values():
            if not phones.is_over:
                state = (await phones.ask(state=True))["state"]
                for name in total:
                    total[name] += state[name]
        return total

    async def states(self) -> list[PhoneState]:
        """The agents' phones now."""
        found = []
        for phones in self.phones.values():
            report = (await phones.ask(report=True))["report"]
            found += [PhoneState(**phone) for phone in report["verdict"]["phones"]]
        return found

    async def more(self, calls: int, rate: int) -> None:
        """More callers over both shards, `rate` a second; they do not wait long."""
        self.fresh += calls
        for phones in self.phones.values():
            await phones.ask(calls=calls // len(self.phones), rate=rate / len(self.phones))

    async def mark(self, name: str) -> None:
        for phones in self.phones.values():
            await phones.ask(mark=name)

    # -- what happens ------------------------------------------------------------------------------

    async def strike(self, *pids: int, how: signal.Signals, name: str = "fault") -> float:
        """Mark the moment and send the signal to all of them; the wall-clock time in seconds."""
        self._load.begin(self.processes())
        await self.mark(name)
        at_s = time.time()
        for pid in pids:
            os.kill(pid, how)
        return at_s

    def resume(self, pid: int) -> None:
        """A process that was stopped goes on, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def taken_over(self, shard: str, epoch: int, since_s: float) -> None:
        """Wait until a higher epoch of the shard is served, and note how long that took."""

        async def serves() -> bool:
            with contextlib.suppress(StopIteration):
                at_s = next(at for at, one, then in self.serving() if one == shard and then > epoch)
                self.takeover_ms[shard] = round((at_s - since_s) * 1_000)
                return True
            return False

        await self.until(f"{shard} is taken over", serves, TAKEOVER_S)

    def serving(self) -> list[tuple[float, str, int]]:
        """When which shard was served from, in which epoch, by the nodes' logs."""
        found = []
        for name in self.names:
            for line in (self.cluster.data / "logs" / f"{name}.log").read_text().splitlines():
                if '"event": "serving"' in line:
                    said = json.loads(line)
                    at_s = datetime.fromisoformat(said["timestamp"]).timestamp()
                    found.append((at_s, said["shard"], said["epoch"]))
        return sorted(found)

    async def rest(self, seconds: float = FAULT_MS / 1_000 + 0.5) -> None:
        """Let the phones go on as they do: gaps are measured over this time."""
        await asyncio.sleep(seconds)
        self._load.end(self.processes())

    async def finish(self) -> None:
        """The talks may end, whoever waits is served, and all phones are gone."""
        for phones in self.phones.values():
            if not phones.is_over:
                await phones.ask(release=True)
        last: dict[str, int] = {}
        changed = time.monotonic()
        while not all(phones.is_over for phones in self.phones.values()):
            try:
                people = await self.count()
            except CommandFailed:  # ended between two looks; `ended` tells how
                break
            if people != last:
                last, changed = people, time.monotonic()
            if time.monotonic() - changed > IDLE_S:
                self.problems.append(f"nobody is served any more: {people}")
                for phones in self.phones.values():
                    if not phones.is_over:
                        await phones.ask(stop=True)
                break
            await asyncio.sleep(POLL_S)
        for phones in self.phones.values():
            await phones.ended(round(ENDING_S * 1_000))

    # -- what was seen -----------------------------------------------------------------------------

    def log(self) -> list[facts.AnyFact]:
        """What all phones saw."""
        return [
            fact for phones in self.phones.values() for fact in facts.read(phones.log.read_bytes())
        ]

    async def judged(self) -> Findings:
        """The verdict, and the cluster's books compared with it."""
        log = self.log()
        verdict = judge(log)
        done = await asyncio.to_thread(self.cluster.ask, "agents")
        wrong = differing(verdict.phones, done)
        if wrong:
            self.problems.append(f"at the end, {len(wrong)} agents differ: {wrong[:3]}")
        cdrs = await self.booked(verdict.offered)
        return Findings(
            verdict=verdict,
            problems=self.problems,
            takeover_ms=self.takeover_ms,
            delays=delays(log),
            cdrs=cdrs,
            load=str(self._load),
        )

    async def booked(self, offered: int) -> int:
        """How many call records there are; what does not add up becomes a problem."""
        count, ledger = 0, {}
        end = time.monotonic() + AGREE_S
        while time.monotonic() < end:
            with contextlib.suppress(Unreachable, NoCluster):
                records = await self.asked.history("cdr")
                count = len({record["call"] for record in records})
                ledger = (await self.status())["ledger"]
                taken = ledger["received"] - ledger["refused"]
                if count == offered == taken and not ledger["unaccounted"]:
                    return count
            await asyncio.sleep(POLL_S)
        self.problems.append(f"{offered} calls were made, {count} have records; ledger {ledger}")
        return count


@contextlib.asynccontextmanager
async def playing(
    folder: Path,
    people: People,
    *,
    seed: int = 1,
    nodes: int = 3,
    command: Sequence[str] = KEEPLINE,
    options: Sequence[str] = (),
) -> AsyncIterator[Scene]:
    """A scene on a cluster that is ready; everything of it is ended afterwards."""
    scene = Scene(folder, people, seed=seed, nodes=nodes, command=command, options=options)
    try:
        async with cluster(scene.cluster.data, None) as found:
            await scene.start(found)
            yield scene
    finally:
        await scene.end()
