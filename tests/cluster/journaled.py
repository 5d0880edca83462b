"""The simulation with journals: every copy may die, hosts lose their power, disks fail, and an
operator says with whose records to go on when nothing else may be done."""

from typing import Any

from cluster.journaling import RETRY_MS
from cluster.roles import Follower
from cluster.store import decode_key
from tests.cluster.simulate import Process, Simulation, Violation
from tests.cluster.toy import Toy

OPERATOR_MS = 400
"""An operator looks so often."""


class Journaled(Simulation):
    """`journal` is "async", "sync", or "any": the seed says which."""

    def __init__(self, seed: int, *, journal: str = "any", **how: Any) -> None:
        if journal == "any":
            journal = ("async", "async", "sync")[seed % 3]
        self.asked: dict[str, None] = {}
        """Nodes that the operator promoted."""
        super().__init__(seed, journal=journal, **how)
        self.at(OPERATOR_MS, self.operate)

    def fault(self) -> None:
        draw = self.random
        kinds = ["all", "all", "reboot", "all reboot", "disk full", "slow disk", "last copies"]
        kind = draw.choice([*kinds, *[""] * len(kinds)])
        node = draw.choice(self.names)
        back_ms = draw.choice([50, 300, 1000])
        if not kind:
            super().fault()
            return
        self.trace.append((self.now_ms, node, kind))
        if kind == "all":
            self.crash_all(back_ms)
        elif kind == "last copies":  # who is in sync, and nobody else
            key = decode_key(self.store[1])
            for name in {member.partition(":")[0]: None for member in key.in_sync} if key else ():
                self.at(draw.randrange(40), lambda name=name: self.crash(name, back_ms))  # type: ignore[misc]
        elif kind == "reboot":
            self.crash(node, back_ms, reboot=True)
        elif kind == "all reboot":
            for name in self.names:
                self.crash(name, back_ms, reboot=True)
        elif kind == "disk full":
            self.disks[node].error = "no space left"
            if draw.random() < 0.5:
                self.at(draw.choice([300, 800]), lambda: self.crash_all(back_ms))
        elif kind == "slow disk":
            self.disks[node].slow_ms = draw.choice([300, 3_000])
            self.paused[node] = self.now_ms + draw.choice([100, 600])
            self.at(draw.choice([700, 1_000]), lambda: self.crash_all(back_ms))
        self.at(draw.choice([500, 1_500, 3_000]), self.heal)

    def crash_all(self, back_ms: int) -> None:
        for name in self.names:
            self.crash(name, back_ms + self.random.randrange(50))

    def crash_unless_last(self, node: str, back_ms: int) -> None:
        self.crash(node, back_ms)

    def heal(self) -> None:
        super().heal()
        for disk in self.disks.values():
            disk.error = ""
            disk.slow_ms = 0

    # -- the operator ------------------------------------------------------------------------------

    def operate(self) -> None:
        """Promote the best there is when every node is up and nobody may lead by himself."""
        self.at(OPERATOR_MS, self.operate)
        key = decode_key(self.store[1])
        if key is None or len(self.alive) < len(self.names) or self.paused or self.store_away:
            return
        if not all(self.is_gone(member) for member in key.in_sync):
            return
        stuck: list[tuple[int, int, str]] = []
        for process in self.alive.values():
            core = process.shard.core
            if not isinstance(core.role, Follower) or not core.role.stuck:
                return
            left = core.comeback.left
            if core.log.birth:
                stuck.append((core.log.epoch_at(core.log.end) or 0, core.log.end, process.node))
            elif left is not None:
                stuck.append((left.epoch, left.end, process.node))
        if not stuck:
            raise Violation("nobody leads, and nobody has anything")
        process = self.alive[max(stuck)[2]]

        self.asked[process.node] = None

        def done(why: str) -> None:
            self.count("not promoted" if why else "promoted")

        process.shard.core.promote(done)

    def served(self, process: Process, *, lost: bool) -> None:
        core, machine = process.shard.core, process.shard.machine
        assert isinstance(machine, Toy)
        if lost:
            for disk in self.disks.values():
                left = disk.left()
                if left is not None and disk.node != process.node and left.epoch < core.epoch:
                    raise Violation(f"{process.node} began empty, {disk.node} has {left.end}")
        elif machine.promoted:
            records = process.shard.records
            for op, key in list(self.acked.items()):
                if key not in records or op not in records[key].done:
                    self.forgotten[op] = None
                    del self.acked[op]
            # Out of the past it may come in another order than it had come in what is lost.
            self.values.clear()
            self.done.clear()
        elif core.key is not None and core.key.in_sync == (core.member,) and core.epoch > 1:
            self.count("came back")
        super().served(process, lost=lost)

    def finish(self) -> None:
        self.run_to(self.end_ms + 8_000)  # an operator takes his time
        key = decode_key(self.store[1])
        if self.journal == "sync" and key is not None and len(key.in_sync) < len(self.names):
            self.run_to(self.end_ms + RETRY_MS + 8_000)  # a disk that failed is tried again
        super().finish()
