"""The core alone: one shard of counters, and clients who repeat an operation until it is done.

Checked besides `loadtest.sim.rules`: what a client was told is done stays done, once, with a value
of its own; what was asked for is confirmed and every timer rings, whoever leads by then.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cluster import began
from cluster.machine import Machine
from cluster.switch import Switch
from loadtest.sim.draw import Draw
from loadtest.sim.faults import Faults
from loadtest.sim.member import Member
from loadtest.sim.rules import Uneventful, Violation
from loadtest.sim.toy import Add, Arm, Confirm, Done, Rang, Toy
from loadtest.sim.world import World

SHARD = "main"
KEYS = ("x", "y", "z")
TIMERS = ("t", "u", "v")
NODES = ((3, 0), (3, 0), (3, 0), (5, 0), (4, 1))
"""How many, and how many of them are far ones."""
JOURNALS = ("off", "async", "async", "sync", "sync")
COPIES = 3
OPS = 40
END_MS = 12_000
CALM_MS = 7_800
STEADY_MS = (300, 80, 20)
"""Besides those who insist, somebody asks for something so often."""
STEADY_KEYS = 50
FAULTS = 12
MOVE_MS = (1, 5, 55)
CONFIRM_MS = 60
CONFIRM_AGAIN_MS = 150
LATE_MS = 1_000
"""So much later than due a timer may ring once all faults are over."""


class Counting(World):
    """One run."""

    def __init__(
        self,
        draw: Draw,
        *,
        nodes: int | None = None,
        far: int = 0,
        journal: str | None = None,
        ops: int = OPS,
        is_told: bool = False,
        toy: Callable[[], Toy] = Toy,
        check: bool = False,
    ) -> None:
        """What is not said here is drawn."""
        if nodes is None:
            nodes, far = draw.choice(NODES)
        if journal is None:
            journal = draw.choice(JOURNALS)
        super().__init__(
            draw, nodes=nodes, shards=(SHARD,), far=far, journal=journal, is_told=is_told
        )
        self.check = check
        self.toy = toy
        self.ops = ops
        self._moves = nodes - far > COPIES
        more = {"copies move": self._move_copies} if self._moves else {}
        self.faults = Faults(self, more, weight=len(self.names))
        self.switches: list[Switch] = []
        self.acked: dict[str, str] = {}
        """Operations that a client knows to be done, and in which counter."""
        self.forgotten: dict[str, None] = {}
        """Those of before every copy was lost."""
        self._values: dict[tuple[str, int], str] = {}
        self._done: dict[str, int] = {}
        self._confirming: dict[str, None] = {}
        self._asked = 0
        for node in self.names:
            self.start(node)

    # -- loadtest.sim.world.World ------------------------------------------------------------------

    def machine(self, member: Member) -> Machine:
        return self.toy()

    def move_address(self, member: Member, old_active: str, moved: Callable[[], None]) -> None:
        member.process.at(self.draw.choice(MOVE_MS), moved)

    def released(self, member: Member) -> None:
        pass

    def let_go(self, member: Member, to: str) -> None:
        pass

    def held(self, member: Member, held: bool) -> None:
        pass

    def switched(self, member: Member, switch: Switch) -> None:
        self.switches.append(switch)

    def turn(self, member: Member) -> None:
        pass

    def committed(self, shard: str, key: str, value: bytes | None) -> None:
        pass

    def lost(self, shard: str) -> None:
        self.forgotten |= dict.fromkeys(self.acked)
        self.acked.clear()
        self._values.clear()
        self._done.clear()

    def promoted(self, member: Member) -> None:
        """What was acknowledged since is lost. What was not, may come in another order now."""
        records = {
            key: self.toy().decode(key, data).done
            for key, data in member.shard.core.log.records.items()
            if key != began.KEY
        }
        for op, key in list(self.acked.items()):
            if op not in records.get(key, ()):
                self.forgotten[op] = None
                del self.acked[op]
        self._values.clear()
        self._done.clear()

    def served(self, member: Member, *, lost: bool) -> None:
        if member is self.leader(SHARD):
            self._holds_all(member)

    def perform(self, member: Member, effect: Any) -> None:
        match effect:
            case Done():
                self._told(member, effect)
            case Rang():
                self.tell(member.node, "rang", effect.key)

    # -- what a client sees ------------------------------------------------------------------------

    def _told(self, member: Member, effect: Done) -> None:
        op, key = effect.op, effect.key
        accuse = self.rules.accuse
        data = member.shard.core.log.records.get(key)
        if data is None or op not in self.toy().decode(key, data).done:
            accuse(f"{op} was acknowledged before its record was committed")
        if not effect.again:
            if self._values.setdefault((key, effect.value), op) != op:
                accuse(f"value {effect.value} of {key} was acknowledged for two operations")
            if self._done.setdefault(op, effect.value) != effect.value:
                accuse(f"{op} was done twice")
        if (SHARD, member.shard.core.log.birth) in self.rules.lost:
            self.forgotten[op] = None
            return
        self.acked[op] = key
        leader = self.leader(SHARD)
        if leader is not None and leader is not member:
            records = leader.shard.records
            if key not in records or op not in records[key].done:
                accuse(
                    f"{op} acknowledged by {member.shard.core.member} of epoch"
                    f" {member.shard.core.epoch}, unknown to {leader.shard.core.member}"
                )
        if op not in self._confirming:
            self._confirming[op] = None
            self.at(self.draw.randrange(CONFIRM_MS), lambda: self.confirm(key, op))

    def confirm(self, key: str, op: str) -> None:
        """Whoever was told says so, until the shard has heard it."""
        leader = self.leader(SHARD)
        if leader is not None:
            counter = leader.shard.records.get(key)
            if counter is None or op not in counter.pending:
                del self._confirming[op]
                return
            leader.post(Confirm(key, op))
        self.at(CONFIRM_AGAIN_MS, lambda: self.confirm(key, op))

    def _holds_all(self, member: Member) -> None:
        records = member.shard.records
        for op, key in self.acked.items():
            if key not in records or op not in records[key].done:
                self.rules.accuse(f"{op} is unknown to {member.shard.core.member}")

    def _insist(self, op: str) -> None:
        """Tries the same operation at any node until it is acknowledged."""
        if op in self.acked or op in self.forgotten:
            return
        process = self.alive.get(self.draw.choice(self.names))
        if process is not None and process.node not in self.paused:
            process.members[SHARD].post(Add(KEYS[int(op[2:]) % len(KEYS)], op))
        self.at(20 + self.draw.randrange(50), lambda: self._insist(op))

    def _go_on(self, apart_ms: int) -> None:
        """Steady traffic: each time another thing, and no repeat."""
        if self.now_ms > 0.8 * END_MS:
            return
        self._asked += 1
        leader = self.leader(SHARD)
        if leader is not None:
            if self._asked % 7 == 0:  # often one that is armed already
                leader.post(Arm(self.draw.choice(TIMERS), 50 + self.draw.randrange(1_000)))
            else:
                leader.post(Add(f"s{self._asked % STEADY_KEYS}", f"steady{self._asked}"))
        self.at(1 + self.draw.randrange(2 * apart_ms), lambda: self._go_on(apart_ms))

    def _move_copies(self) -> None:
        """The placement wants so many copies, on these nodes besides the active's."""
        ranked = sorted((self.draw.random(), name) for name in self.names)
        self._want([name for _, name in ranked], 2 + self.draw.randrange(len(ranked) - 1))

    def _want(self, nodes: Sequence[str], count: int) -> None:
        for member in self.members(SHARD):
            others = [name for name in nodes if name != member.node]
            member.shard.core.wanted = (member.node, *others[: count - 1])

    # -- a run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Violation if a rule was broken."""
        draw = self.draw
        span_ms = int(END_MS * 0.6)
        for n in range(self.ops):
            self.at(draw.randrange(span_ms), lambda n=n: self._insist(f"op{n}"))  # type: ignore[misc]
        apart_ms = draw.choice(STEADY_MS)
        self.at(0, lambda: self._go_on(apart_ms))
        self.faults.plan(FAULTS, from_ms=1_500, to_ms=span_ms)
        self.at(CALM_MS, self.faults.end)
        if self._moves:
            self.at(CALM_MS + 1_000, lambda: self._want(self.names, COPIES))
        self.run_to(END_MS)
        self.settle()
        self._finish()
        if self.rules.broken:
            raise Violation(self.rules.broken[0])
        if len(self.rules.leaders) < 2:
            raise Uneventful(f"nobody took over: {self.counts}")

    def _finish(self) -> None:
        accuse = self.rules.accuse
        leader = self.leader(SHARD)
        if leader is None:
            return
        self._holds_all(leader)
        self.answered = len([op for op in self.forgotten | self.acked if op.startswith("op")])
        if self.answered != self.ops:
            accuse(f"{self.answered} of {self.ops} operations were acknowledged")
        now_ms = leader.shard.time_ms()
        for key, counter in leader.shard.records.items():
            if counter.pending:
                accuse(f"{key}: nobody has confirmed {counter.pending}")
            if counter.due_ms is not None and counter.due_ms < now_ms - LATE_MS:
                accuse(f"{key}: a timer has not rung since {now_ms - counter.due_ms} ms")
