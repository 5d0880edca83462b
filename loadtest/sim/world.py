"""Virtual time for a whole cluster: what happens when, on which life of which node.

Everything is an event at a moment; events of one moment happen in the order in which they were
planned. An event that belongs to a process waits while that process is paused and is dropped when
it has died. After each event what it touched is looked at (`loadtest.sim.rules`).
"""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from cluster.journaling import RETRY_MS
from cluster.machine import Machine
from cluster.store import decode_key, node_of, process_of
from cluster.switch import Switch
from loadtest.sim.disk import Disk
from loadtest.sim.draw import Draw
from loadtest.sim.member import Member
from loadtest.sim.network import Network
from loadtest.sim.operator import Operator
from loadtest.sim.process import Process
from loadtest.sim.rules import Rules, Violation
from loadtest.sim.store import SimulatedStore

SETTLE_MS = 2_500
"""When the last node has come back, all is well so much later..."""
SLOWLY_MS = RETRY_MS + 8_000
"""...or so much later yet, if a person has to look after it, or a disk is tried again."""
REST_MS = 500

EVENTS_MAX = 1_000_000
"""A run with more of them turns on the spot."""

DRIFT = 0.002
"""A node's clock runs faster or slower than time by up to this: far more than any machine's."""
WALL_MS = 1_700_000_000_000
WALL_OFF_MS = 2_000
"""Unix time at the beginning of every run, and how far a node's may be off."""

Line = tuple[int, str, str, Any]
"""When, on which node or "", what, and more about it."""


class World(ABC):
    """One run. What its shards are for is a subclass's business."""

    def __init__(
        self,
        draw: Draw,
        *,
        nodes: int,
        shards: Sequence[str],
        far: int = 0,
        journal: str = "off",
        is_told: bool = False,
    ) -> None:
        """The last `far` of the nodes are far ones; `journal`: "off", "async" or "sync";
        `is_told`: the log is kept in full, for somebody who will read it."""
        self.draw = draw
        self.now_ms = 0
        self.exact_ms = 0.0
        self.events = 0
        self.names = tuple(f"n{n + 1}" for n in range(nodes))
        self.shards = {
            name: (*self.names[at % nodes :], *self.names[: at % nodes])
            for at, name in enumerate(shards)
        }
        """Each shard's nodes, the preferred ones first."""
        self.far = self.names[nodes - far :]
        self.journal = journal
        self.disks = {(node, shard): Disk(node, draw) for node in self.names for shard in shards}
        self.clocks = {
            name: (
                1 + DRIFT * (2 * draw.random() - 1),
                WALL_MS + draw.randrange(2 * WALL_OFF_MS) - WALL_OFF_MS,
            )
            for name in self.names
        }
        """Each node's: how fast it runs, and its Unix time at the beginning."""
        self.is_told = is_told
        self.log: list[Line] = []
        self.counts: dict[str, int] = {}
        self.answered = 0
        """Calls, or operations, that came to their good end."""
        self.crossed = 0
        """Calls that another node took over while they were under way, and that were not lost."""
        self.alive: dict[str, Process] = {}
        self.paused: dict[str, int] = {}
        """Until when a node's process is stopped."""
        self.dead_hosts: dict[str, None] = {}
        """Nodes whose host died with their process: no kernel answers for them."""
        self.load_ms = draw.choice((1, 1, 4, 20))
        """A batch takes at least so long to gather: as on a node that is busy with other shards."""
        self.check = False
        """A record that a step changes without saying so ends the run."""
        self.bugs_are_planted = False
        """A step may raise."""
        self.rules = Rules(self)
        self.network = Network(self)
        self.store = SimulatedStore(self)
        self.files: dict[str, bytes] = {}
        self._starts = dict.fromkeys(self.names, 0)
        self._queue: list[tuple[float, int, Callable[[], object], Process | None]] = []
        self._n = 0
        self.operator = Operator(self)

    @abstractmethod
    def run(self) -> None:
        """From beginning to end. Raises Violation, Uneventful, or what the product raised."""

    # -- what a subclass says ----------------------------------------------------------------------

    @abstractmethod
    def machine(self, member: Member) -> Machine:
        """What this member's shard runs."""

    @abstractmethod
    def perform(self, member: Member, effect: Any) -> None:
        """A committed effect."""

    @abstractmethod
    def move_address(self, member: Member, old_active: str, moved: Callable[[], None]) -> None:
        """The shard's address comes to this member."""

    @abstractmethod
    def served(self, member: Member, *, lost: bool) -> None:
        """The member begins to serve."""

    @abstractmethod
    def lost(self, shard: str) -> None:
        """Every in-sync copy of the shard has died: it begins empty."""

    @abstractmethod
    def promoted(self, member: Member) -> None:
        """By order of an operator the shard goes on with what this member has."""

    @abstractmethod
    def released(self, member: Member) -> None:
        """The member leads no more: nothing of what was under way goes on."""

    @abstractmethod
    def let_go(self, member: Member, to: str) -> None:
        """The member gives the shard's address up, to the node `to` if one has asked for it."""

    @abstractmethod
    def held(self, member: Member, held: bool) -> None:
        """The shard is being handed over, or is so no longer: what comes is left unread."""

    @abstractmethod
    def switched(self, member: Member, switch: Switch) -> None:
        """How the takeover went that made this member active."""

    @abstractmethod
    def committed(self, shard: str, key: str, value: bytes | None) -> None:
        """A changed record is committed; None: it is deleted."""

    @abstractmethod
    def turn(self, member: Member) -> None:
        """A regular turn of the member's process."""

    # -- time --------------------------------------------------------------------------------------

    def at(
        self, delay_ms: float, call: Callable[[], object], process: Process | None = None
    ) -> None:
        """Let this happen so much later, in this process."""
        self._n += 1
        heapq.heappush(self._queue, (self.exact_ms + delay_ms, self._n, call, process))

    def run_to(self, end_ms: float) -> None:
        """Let everything happen that is due before `end_ms`. Violation if a rule was broken."""
        queue = self._queue
        events_max = self.events + EVENTS_MAX
        paused = self.paused
        rules = self.rules
        while queue and queue[0][0] < end_ms:
            due, n, call, process = heapq.heappop(queue)
            if due > self.exact_ms:
                self.exact_ms = due
                self.now_ms = int(due)
            if process is None:
                self.events += 1
                call()
            else:
                if not process.is_alive:
                    continue
                wake_ms = paused.get(process.node)
                if wake_ms is not None:
                    if wake_ms > self.now_ms:
                        heapq.heappush(queue, (wake_ms, n, call, process))
                        continue
                    del paused[process.node]
                self.events += 1
                call()
                rules.look(process)
            if rules.broken:
                raise Violation(rules.broken[0])
            if self.events > events_max:
                raise Violation(f"it turns on the spot since {self.now_ms} ms")

    def settle(self) -> None:
        """Faults are over and all nodes are back: let everything come to its rest."""
        while len(self.alive) < len(self.names) or self.is_leaving:
            self.run_to(self.now_ms + REST_MS)
        end_ms = self.now_ms + (0 if self.journal == "off" and not self.far else SLOWLY_MS)
        self.run_to(self.now_ms + SETTLE_MS)
        while self.now_ms < end_ms and not all(map(self._is_settled, self.shards)):
            self.run_to(self.now_ms + SETTLE_MS)
        for shard in self.shards:
            for what in self.rules.rest(shard):
                self.rules.accuse(what)

    def _is_settled(self, shard: str) -> bool:
        history = self.rules.histories.get(shard)
        is_old = history is not None and history.since_ms <= self.now_ms - SETTLE_MS
        return is_old and not self.rules.rest(shard)

    # -- nodes -------------------------------------------------------------------------------------

    def start(self, node: str) -> None:
        """A new process for this node, unless it has one."""
        if node in self.alive:
            return
        self.dead_hosts.pop(node, None)
        self._starts[node] += 1
        process = self.alive[node] = Process(self, node, f"{self._starts[node]}")
        self.tell(node, "start", None)
        self.network.joined(node)
        process.start()

    def crash(
        self, node: str, back_ms: float, *, silently: bool = False, reboot: bool = False
    ) -> None:
        """The node's process is gone with its memory; another one comes `back_ms` later.

        `silently`: with its host, so no kernel tells anybody; `reboot`: and the host forgets what
        was on no disk.
        """
        process = self.alive.pop(node, None)
        if process is None:
            return
        self.paused.pop(node, None)
        if silently:
            self.dead_hosts[node] = None
        process.ended()
        if reboot:
            for disk in self.disks_on(node):
                disk.reboot()
        self.tell(node, "silent crash" if silently else "crash", None)
        self.network.left(node, silently=silently)
        self.at(back_ms, lambda: self.start(node))

    def disks_on(self, node: str) -> list[Disk]:
        """What this node has of all shards."""
        return [self.disks[node, shard] for shard in self.shards]

    def disks_of(self, shard: str) -> list[Disk]:
        """What all nodes have of this shard."""
        return [self.disks[node, shard] for node in self.names]

    def pause(self, node: str, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT so much later."""
        if node in self.alive:
            self.tell(node, "pause", for_ms)
            self.paused[node] = self.now_ms + for_ms

    @property
    def is_leaving(self) -> bool:
        """Does a node stop in order just now?"""
        return any(process.is_leaving for process in self.alive.values())

    def is_gone(self, member: str, shard: str) -> bool:
        """Does the process of this member, or the shard's life in it, exist no more?"""
        process = self.alive.get(node_of(member))
        if process is None or process.incarnation != process_of(member):
            return True
        return process.members[shard].shard.core.member != member

    def member(self, member: str, shard: str) -> Member | None:
        """The living member of this name."""
        process = self.alive.get(node_of(member))
        if process is None or self.is_gone(member, shard):
            return None
        return process.members[shard]

    def members(self, shard: str) -> list[Member]:
        """Every node's member of this shard."""
        return [process.members[shard] for process in self.alive.values()]

    def leader(self, shard: str) -> Member | None:
        """The member that the store says leads, if it serves."""
        key = decode_key(self.store.keys[shard][1])
        member = self.member(key.active, shard) if key is not None else None
        if key is None or member is None:
            return None
        core = member.shard.core
        return member if core.epoch == key.epoch and member.shard.serving else None

    # -- the log -----------------------------------------------------------------------------------

    def tell(self, node: str, what: str, more: Any) -> None:
        """Something worth counting has happened."""
        self.counts[what] = self.counts.get(what, 0) + 1
        self.log.append((self.now_ms, node, what, more))

    def remark(self, node: str, what: str, more: Any) -> None:
        """Something worth reading, if anybody reads."""
        if self.is_told:
            self.log.append((self.now_ms, node, what, more))

    def lines(self, last: int = 0) -> list[str]:
        """The log for a reader; the `last` lines of it, or all."""
        return [
            f"{ms:>7} {node or '-':<4} {what}{'' if more is None else f' {more}'}"
            for ms, node, what, more in self.log[-last:]
        ]
