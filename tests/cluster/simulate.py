"""Deterministic simulation of whole shards: one seed is one schedule of delays, losses, cuts,
crashes, pauses, store outages, hand-overs and clean leaves on a fake clock. A seed repeats it.

Checked at each acknowledged operation and at each takeover; see `Violation`.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from cluster.journal import Left
from cluster.journaling import Journal
from cluster.machine import Machine
from cluster.messages import CoreMessage
from cluster.roles import Active, Found
from cluster.runtime import Shard
from cluster.snapshot import Snapshot, decode_snapshot, encode_snapshot
from cluster.store import Lost, Unknown, Won, decode_key, node_of, process_of
from cluster.switch import Switch
from tests.cluster.disk import Disk, DiskStorage
from tests.cluster.toy import Add, Confirm, Done, Toy

TICK_MS = 20
LAST_MS = 1_000
KEYS = ("x", "y", "z")


class Violation(Exception):
    """The product would have lost or doubled something, or stood still."""


class Process:
    """One life of one node, as the outside of its shard."""

    machine: Callable[[], Machine] = Toy

    def __init__(self, sim: "Simulation", node: str, number: int) -> None:
        self.sim = sim
        self.node = node
        self.number = number
        self.incarnation = sim.incarnation(node, number)
        self.clock_ms = sim.random.randrange(1_000_000)  # no two nodes' clocks agree
        self.ticked_ms = sim.now_ms
        self.performed: list[Any] = []
        self.disk = sim.disks[node]
        self.storage = DiskStorage(self.disk, self)
        self.shard = Shard(
            name="main",
            node=node,
            incarnation=self.incarnation,
            preferred=sim.names,
            copies=min(3, len(sim.names)),
            machine=self.machine,
            outside=self,
            far=sim.far,
            journal=self._journal() if sim.journal != "off" else None,
            check=sim.check,
        )

    def _journal(self) -> Journal:
        return Journal(
            shard="main",
            sync=self.sim.journal == "sync",
            storage=self.storage,
            old=self.disk.journals(),
            note=self.note,
            now_ms=self.now_ms,
            wall_ms=self.wall_ms,
        )

    @property
    def alive(self) -> bool:
        return self.sim.alive.get(self.node) is self

    def at(self, delay_ms: float, call: Callable[[], None]) -> None:
        self.sim.at(delay_ms, call, self)

    def tick(self) -> None:
        late = self.sim.now_ms - self.ticked_ms - TICK_MS
        self.ticked_ms = self.sim.now_ms
        if late > 10:
            self.shard.woke_late(late)
        self.shard.tick()
        self.at(TICK_MS + self.sim.random.randrange(5), self.tick)

    # cluster.runtime.Outside

    def now_ms(self) -> int:
        return self.clock_ms + self.sim.now_ms

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.sim.now_ms

    def random(self) -> bytes:
        return self.sim.random.randbytes(32)

    def send(self, node: str, message: CoreMessage) -> None:
        self.sim.send(self, node, message)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.at(delay_ms, call)

    def soon(self, call: Callable[[], None]) -> None:
        self.at(0, call)

    def gather(self, delay_ms: int) -> None:
        self.at(max(delay_ms, self.sim.gather_ms), self.shard.flush)

    def read(self, done: Callable[[Found | None], None]) -> None:
        sim = self.sim

        def serve() -> None:
            if self.node in sim.store_away or self.node in sim.store_mute:
                self.at(200, lambda: done(None))
            else:
                found = sim.store
                self.at(2, lambda: done(found))

        sim.at(2, serve)

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        sim = self.sim

        def change() -> Won | Lost:
            if sim.store[0] != rev:
                return Lost(*sim.store)
            sim.changed(value)
            return Won(sim.store[0])

        def serve() -> None:
            chance = sim.random.random()
            if self.node in sim.store_away:
                self.at(300, lambda: done(Unknown()))
            elif chance < 0.04:  # still under way when its deadline passes: it may yet arrive
                self.at(100, lambda: done(Unknown()))
                sim.at(sim.random.choice([60, 150, 600]), lambda: (change(), None)[1])
            else:
                answer: Won | Lost | Unknown = change()
                if chance < 0.08 or self.node in sim.store_mute:
                    answer = Unknown()
                self.at(sim.random.choice([1, 3, 50]), lambda: done(answer))

        sim.at(sim.random.choice([1, 3, 50]), serve)

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        sim = self.sim
        self.at(1, lambda: done(node not in sim.alive and (self.node, node) not in sim.cut))

    def is_linked(self, member: str) -> bool:
        other = self.sim.alive.get(node_of(member))
        return other is not None and other.incarnation == process_of(member)

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        is_gone = all(self.sim.is_gone(member) for member in members)
        is_left = any(disk.left() is not None for disk in self.sim.disks.values())
        self.at(3, lambda: done(is_gone and not is_left))

    def recover(self, done: Callable[[Left | None], None]) -> None:
        self.at(4, lambda: done(self.disk.left(self.note)))

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        data = self.sim.files.get(name)
        self.at(5, lambda: done(None if data is None else decode_snapshot(data)))

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        name = f"main-{snapshot.epoch}"
        self.sim.files[name] = encode_snapshot(snapshot)
        self.at(10, lambda: saved(name))

    def perform(self, effect: Any) -> None:
        self.performed.append(effect)
        if isinstance(effect, Done):
            self.sim.acknowledged(self, effect)

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        self.at(self.sim.random.choice([1, 5, 55]), moved)

    def serving(self, *, lost: bool) -> None:
        self.sim.served(self, lost=lost)

    def switched(self, switch: Switch) -> None:
        self.sim.switches.append(switch)

    def deposed(self) -> None:
        self.sim.count("deposed")

    def note(self, what: str, **fields: object) -> None:
        self.sim.count(what)
        self.sim.trace.append((self.sim.now_ms, self.node, what, str(fields)))

    def broken(self, error: BaseException) -> None:
        raise Violation(f"broken: {error!r}")


class Simulation:
    """One seed's run."""

    process = Process

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 3,
        ops: int = 40,
        end_ms: int = 12_000,
        same_name: bool = False,
        check: bool = False,
        journal: str = "off",
        far: int = 0,
    ) -> None:
        """`journal`: "off", "async" or "sync"; the last `far` nodes are far ones."""
        self.random = random.Random(seed)
        self.journal = journal
        self.now_ms = 0
        self.same_name = same_name
        self.check = check
        self.names = tuple("abcde"[:nodes])
        self.far = self.names[nodes - far :]
        self.disks = {
            name: Disk(name, random.Random(f"{seed}/{name}"))  # of its own: schedules stay
            for name in self.names
        }
        self.alive: dict[str, Process] = {}
        self.starts = dict.fromkeys(self.names, 0)
        self.paused: dict[str, int] = {}
        self.cut: dict[tuple[str, str], None] = {}
        self.store: Found = (0, None)
        self.store_away: dict[str, None] = {}
        self.store_mute: dict[str, None] = {}
        """It hears these nodes, and they do not hear it."""
        self.files: dict[str, bytes] = {}
        self.ops = ops
        self.end_ms = end_ms
        self.lossy = self.random.random() < 0.4
        self.gather_ms = self.random.choice([1, 1, 4, 20])
        """Batches take at least so long to gather: as on a node that is busy with other shards."""
        self.counts: dict[str, int] = {}
        self.switches: list[Switch] = []
        self.trace: list[tuple[Any, ...]] = []
        self.acked: dict[str, str] = {}
        self.done: dict[str, int] = {}
        self.forgotten: dict[str, None] = {}
        self.values: dict[tuple[str, int], str] = {}
        self.leaders: dict[int, str] = {}
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[[], None], Process | None]] = []
        self._n = 0
        self._fifo: dict[tuple[str, str], float] = {}
        for node in self.names:
            self.start(node)

    # -- the world ---------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def at(self, delay_ms: float, call: Callable[[], None], process: Process | None = None) -> None:
        self._n += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._n, call, process))

    def incarnation(self, node: str, number: int) -> str:
        return "same" if self.same_name else f"{number}"

    def is_gone(self, member: str) -> bool:
        process = self.alive.get(node_of(member))
        if process is None:
            return True
        if process.incarnation != process_of(member):
            return True
        return process.shard.core.member != member

    def start(self, node: str) -> None:
        if node in self.alive:
            return
        self.starts[node] += 1
        process = self.process(self, node, self.starts[node])
        self.alive[node] = process
        process.shard.start()
        process.at(5, process.tick)
        for other in list(self.alive.values()):
            if other is not process:
                other.at(3, lambda other=other: other.shard.core.link_up(node))  # type: ignore[misc]
                process.at(3, lambda other=other: process.shard.core.link_up(other.node))  # type: ignore[misc]

    def crash(self, node: str, back_ms: int, *, reboot: bool = False) -> None:
        process = self.alive.pop(node, None)
        if process is None:
            return
        process.storage.died()
        if reboot:
            self.disks[node].reboot()
        self.paused.pop(node, None)
        self.trace.append((self.now_ms, node, "crash"))
        self.count("crash")
        for other in list(self.alive.values()):
            other.at(1, lambda other=other: other.shard.core.link_down(node))  # type: ignore[misc]
        self.at(back_ms, lambda: self.start(node))

    def send(self, sender: Process, node: str, message: CoreMessage) -> None:
        draw = self.random
        if (sender.node, node) in self.cut or (self.lossy and draw.random() < 0.03):
            return
        receiver = self.alive.get(node)
        if receiver is None:
            return
        delay = draw.choice([1, 2, 10, 200]) if self.lossy else draw.expovariate(1 / 2)
        pair = (sender.node, node)
        due = max(self.now_ms + delay, self._fifo.get(pair, 0))
        self._fifo[pair] = due

        def deliver() -> None:
            if pair not in self.cut:
                receiver.shard.on(sender.node, message)

        self.at(due - self.now_ms, deliver, receiver)

    def changed(self, value: bytes) -> None:
        key = decode_key(value)
        assert key is not None
        before = decode_key(self.store[1])
        if before is not None and key.epoch < before.epoch:
            raise Violation(f"epoch went back: {before} -> {key}")
        self.store = (self.store[0] + 1, value)

    # -- what is checked ---------------------------------------------------------------------------

    def leader(self) -> Process | None:
        """The process that the store says leads, if it serves."""
        key = decode_key(self.store[1])
        process = self.alive.get(node_of(key.active)) if key is not None else None
        if key is None or process is None:
            return None
        core = process.shard.core
        is_it = core.member == key.active and core.epoch == key.epoch and process.shard.serving
        return process if is_it else None

    def served(self, process: Process, *, lost: bool) -> None:
        core = process.shard.core
        if self.leaders.setdefault(core.epoch, core.member) != core.member:
            raise Violation(f"two actives in epoch {core.epoch}")
        self.count("served")
        key = decode_key(self.store[1])
        assert key is not None
        if lost:
            self.count("lost")
            self.forgotten |= dict.fromkeys(self.acked)
            self.acked.clear()
            self.values.clear()
            self.done.clear()
        # One that slept may believe in a past epoch for a moment; the store's active is judged.
        if key.epoch == core.epoch:
            self.holds_all(process)

    def holds_all(self, process: Process) -> None:
        records = process.shard.records
        for op, key in self.acked.items():
            if key not in records or op not in records[key].done:
                raise Violation(f"{op} is unknown to {process.shard.core.member}")

    def acknowledged(self, process: Process, effect: Done) -> None:
        op, key = effect.op, effect.key
        data = process.shard.core.log.records.get(key)
        if data is None or op not in Toy().decode(key, data).done:
            raise Violation(f"{op} was acknowledged before its record was committed")
        if not effect.again:
            if self.values.setdefault((key, effect.value), op) != op:
                raise Violation(
                    f"value {effect.value} of {key} was acknowledged for two operations"
                )
            if self.done.setdefault(op, effect.value) != effect.value:
                raise Violation(f"{op} was done twice")
        self.acked[op] = key
        leader = self.leader()
        if leader is not None:
            records = leader.shard.records
            if key not in records or op not in records[key].done:
                raise Violation(
                    f"{op} acknowledged by {process.shard.core.member} of epoch"
                    f" {process.shard.core.epoch}, unknown to {leader.shard.core.member}"
                )
        process.at(self.random.randrange(60), lambda: _post(process, Confirm(key, op)))

    # -- what happens ------------------------------------------------------------------------------

    def client(self, op: str) -> None:
        """Tries the same operation at any node until it is acknowledged."""
        if op in self.acked:
            return
        process = self.alive.get(self.random.choice(self.names))
        if process is not None and process.node not in self.paused:
            process.shard.handle(Add(KEYS[int(op[2:]) % len(KEYS)], op))
        self.at(20 + self.random.randrange(50), lambda: self.client(op))

    def fault(self) -> None:
        draw = self.random
        kind = draw.choice(
            [
                "crash",
                "crash",
                "double",
                "pause",
                "cut",
                "cut one way",
                "store",
                "heal",
                "hand over",
                "leave",
                "all",
            ]
        )
        node = draw.choice(self.names)
        active = [p.node for p in self.alive.values() if isinstance(p.shard.core.role, Active)]
        if active and draw.random() < 0.6:
            node = draw.choice(active)
        others = [name for name in self.names if name != node]
        self.trace.append((self.now_ms, node, kind))
        back_ms = draw.choice([50, 300, 1000])
        if kind == "crash":
            self.crash_unless_last(node, back_ms)
        elif kind == "double":  # a standby comes back empty, and the active goes just after
            self.crash_unless_last(draw.choice(others), 10)
            self.at(30, lambda: self.crash_unless_last(node, back_ms))
        elif kind == "pause":
            self.paused[node] = self.now_ms + draw.choice([100, 600, 2500])
        elif kind == "cut":
            for other in others:
                self.cut |= {(node, other): None, (other, node): None}
        elif kind == "cut one way":
            self.cut[(node, draw.choice(others))] = None
        elif kind == "store":
            self.store_away[node] = None
        elif kind == "heal":
            self.heal()
        elif kind == "hand over" and node in self.alive:
            shard = self.alive[node].shard
            able = shard.core.successors()
            if able:
                shard.hand_over(able[0])
                if draw.random() < 0.5:  # and who took it goes just after
                    self.at(draw.choice([40, 80]), lambda: self.crash_unless_last(able[0], back_ms))
        elif kind == "leave" and node in self.alive and len(self.alive) > 2:
            process = self.alive[node]
            process.shard.core.leave()
            process.at(400, lambda: self.crash_unless_last(node, 100))
        elif kind == "all" and draw.random() < 0.15:
            for name in self.names:
                self.crash(name, back_ms)
        self.at(draw.choice([200, 500, 1500]), self.heal)

    def crash_unless_last(self, node: str, back_ms: int) -> None:
        """Never the last in-sync copy: that loss is tried by "all" and by two faults in a row."""
        key = decode_key(self.store[1])
        rest = [m for m in key.in_sync if node_of(m) != node and not self.is_gone(m)] if key else []
        if rest:
            self.crash(node, back_ms)

    def heal(self) -> None:
        self.cut.clear()
        self.store_away.clear()
        self.store_mute.clear()

    def calm(self) -> None:
        """Faults end: from here on it must make progress."""
        self.heal()
        self.paused.clear()
        self.lossy = False
        self.fault = lambda: None  # type: ignore[method-assign]
        for node in self.names:
            process = self.alive.get(node)
            if process is not None and process.shard.core.leaving:
                self.crash(node, 20)

    def run(self) -> None:
        """Violation if a rule was broken."""
        draw = self.random
        span = int(self.end_ms * 0.6)
        for n in range(self.ops):
            self.at(draw.randrange(span), lambda n=n: self.client(f"op{n}"))  # type: ignore[misc]
        for _ in range(8):
            self.at(300 + draw.randrange(span), lambda: self.fault())
        self.at(self.end_ms * 0.7, self.calm)
        self.run_to(self.end_ms)
        if self.answered < self.ops:  # a shard that began anew may have done so just now
            self.run_to(self.end_ms + LAST_MS)
        self.finish()

    def run_to(self, end_ms: int) -> None:
        """Let everything happen that is due before `end_ms`."""
        queue = self._queue
        while queue and queue[0][0] < end_ms:
            due, n, call, process = heapq.heappop(queue)
            self.now_ms = max(self.now_ms, int(due))
            if process is not None:
                if not process.alive:
                    continue
                wake = self.paused.get(process.node)
                if wake is not None:
                    if wake > self.now_ms:
                        heapq.heappush(queue, (wake, n, call, process))
                        continue
                    del self.paused[process.node]
            self.steps += 1
            call()

    @property
    def answered(self) -> int:
        """Operations that were acknowledged, also such as were lost with every copy later."""
        return len(self.forgotten | self.acked)

    def finish(self) -> None:
        leader = self.leader()
        key = decode_key(self.store[1])
        if leader is None:
            raise Violation(f"nobody leads after all faults are over: {key}")
        assert key is not None
        if self.answered != self.ops:
            raise Violation(f"{self.answered} of {self.ops} operations were acknowledged")
        near = len(self.names) - len(self.far)
        if len(key.in_sync) != min(3, near) + (leader.node in self.far):
            raise Violation(f"in_sync {key.in_sync} with {len(self.alive)} nodes up")
        self.holds_all(leader)
        for process in self.alive.values():
            if process is not leader and process.shard.core.member in key.in_sync:
                log, own = process.shard.core.log, leader.shard.core.log
                if log.at_end() != own.at_end() and log.end == own.end:
                    raise Violation(f"{process.node}'s copy differs")


def _post(process: Process, event: Any) -> None:
    process.shard.handle(event)
