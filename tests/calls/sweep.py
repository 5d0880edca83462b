"""The crash sweep's world: virtual time, a wire, a media server, and a shard of calls that dies.

What runs is the product: `cluster.runtime.Shard` over `calls.machine.Calls`, `sip.transaction` on
the node and on every phone. The wire takes a millisecond. A node dies at a planned step or effect;
`TAKEOVER_MS` later another one opens the shard on exactly what was committed. In between the
shard's address hears nothing. Everything follows from the plan: a run can be repeated.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from calls.centre import Centre
from cluster.machine import Step
from cluster.roles import Found
from cluster.snapshot import Snapshot
from cluster.store import ShardKey, decode_key, encode_key
from loadtest.sim.audit import audit_records
from loadtest.sim.database import Database
from loadtest.sim.media import MediaServer
from sip.uri import Address
from tests.calls.audit import audit_talk
from tests.calls.node import WALL_MS, Node, Planted, Watched, describe, describe_effect
from tests.calls.people import SHARD, Person

TAKEOVER_MS = 60
WIRE_MS = 1
MEDIA_AWAY_MS = 300
QUIET_MS = 40_000
"""Watched on, once everybody has hung up."""
RUN_MS_MAX = 400_000
TURNS_MAX = 20_000
POISON = b"X-Poison: yes\r\n"


@dataclass(frozen=True)
class Plan:
    """What goes wrong in a run. Steps, effects and datagrams are counted from 1."""

    dies: tuple[tuple[str, int], ...] = ()
    """("step", n): after step n was decided and before its commit; ("effect", n): instead of
    performing effect n. Counted from the last takeover."""
    loses: frozenset[int] = frozenset()
    """Datagrams that do not arrive."""
    doubles: dict[int, int] = field(default_factory=dict)
    """Datagrams that arrive once more, so many ms later; 0 stands for all of them."""
    media_dies: int = 0
    """At this step the media server restarts without its sessions..."""
    other_ports: bool = False
    """...and cannot have its old ports again."""
    raises_at: int = 0
    """This step raises when it has done all its work."""
    poisons: int = 0
    """This datagram carries a header at which a step raises, whenever it arrives."""
    poisons_redrive: str = ""
    """The re-drive of records of this kind raises."""
    spoils: str = ""
    """The first record of this kind that is read at a takeover cannot be."""


class Sweep:
    """One run."""

    def __init__(
        self,
        centre: Centre,
        plan: Plan | None = None,
        *,
        machine: type[Watched] = Watched,
        quiet_ms: int = QUIET_MS,
    ) -> None:
        self.centre = centre
        self.plan = plan if plan is not None else Plan()
        self.machine = machine
        self.quiet_ms = quiet_ms
        self.now_ms = 1_000
        self.random = Random(7)
        self.key: Found = (0, None)
        self.standby: Snapshot | None = None
        self.database = Database()
        self.people: list[Person] = []
        self.forks: dict[Address, Address] = {}
        """A proxy rings the second phone too when the first is called."""
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.sent_ms: list[int] = []
        self.faults: list[Exception] = []
        self.undone: list[str] = []
        self.spoilt: list[str] = []
        """Keys of records that could not be read."""
        self.timeouts: list[str] = []
        self.wrong: list[str] = []
        """What the audits found."""
        self.steps: list[str] = []
        """What each step since the last takeover was about."""
        self.all_steps = 0
        self.effects: list[str] = []
        self.disturbed_ms = 0
        """When a node or the media server died last, or a datagram was lost."""
        self.is_disturbed = self.plan == Plan()
        """From here on it goes another way than the recorded run, whose every step is audited."""
        self.audits = 0
        self._dies = list(self.plan.dies)
        self._poisoned: dict[bytes, bytes] = {}
        self._lives = 0
        self._n = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self.media = MediaServer(self.at, self._hears)
        self.node: Node | None = None
        self._boot()

    # Time.

    def at(self, delay_ms: int, call: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._n, call))

    def run(self) -> None:
        """Until everybody has hung up, and then on for QUIET_MS."""
        self._run_until(self.now_ms + 500)
        while not self.all_over and self.now_ms < RUN_MS_MAX:
            self._run_until(self.now_ms + 1_000)
        self._run_until(self.now_ms + self.quiet_ms)

    @property
    def all_over(self) -> bool:
        return all(person.is_over for person in self.people)

    def _run_until(self, until_ms: int) -> None:
        queue = self._queue
        for _ in range(TURNS_MAX):
            due_ms = queue[0][0] if queue else until_ms + 1
            first: Node | Person | None = None
            for one in (self.node, *self.people):
                next_ms = one.next_ms if one is not None else None
                if next_ms is not None and next_ms < due_ms:
                    due_ms, first = next_ms, one
            if due_ms > until_ms:
                self.now_ms = until_ms
                return
            self.now_ms = max(self.now_ms, due_ms)
            if first is None:
                heapq.heappop(queue)[2]()
            else:
                first.tick(self.now_ms)
        raise AssertionError("it turns on the spot")

    # Nodes.

    def _boot(self) -> None:
        self._lives += 1
        self.steps = []
        self.effects = []
        self.node = Node(self, self._lives)
        self.node.shard.start()

    def _die(self) -> None:
        """The node is gone; a standby has what is committed."""
        node = self.node
        assert node is not None
        node.alive = False
        self.node = None
        self._dies.pop(0)
        self.disturb()
        key = decode_key(self.key[1])
        assert key is not None
        self.standby = Snapshot(
            "main",
            key.epoch,
            node.shard.core.clock.now(self.now_ms),
            WALL_MS + self.now_ms,
            dict(node.shard.core.log.records),
        )
        self.key = (self.key[0] + 1, encode_key(ShardKey(key.epoch, "", (), "standby")))
        self.at(TAKEOVER_MS, self._boot)

    def stepped(self, machine: Watched, tx: Step, event: Any) -> None:
        """A step was decided, and is not committed."""
        if self.node is None or self.node.shard.machine is not machine:
            return  # of a node that has just died
        self.steps.append(describe(event))
        self.all_steps += 1
        if self.all_steps == self.plan.media_dies:
            self.at(0, self._restart_media)
        if self.is_disturbed:
            self.wrong += audit_records(machine, tx._records, self.centre, tx.now_ms)
        if self._dies and self._dies[0] == ("step", len(self.steps)):
            self._die()
        elif self.all_steps == self.plan.raises_at:
            self.is_disturbed = True
            raise Planted(describe(event))

    def performs(self, effect: Any) -> bool:
        """An effect is to be performed: does the node live to do it?"""
        self.effects.append(describe_effect(effect))
        if self._dies and self._dies[0] == ("effect", len(self.effects)):
            self._die()
            return False
        return True

    def disturb(self) -> None:
        self.is_disturbed = True
        self.disturbed_ms = self.now_ms

    # The media server.

    def _restart_media(self) -> None:
        self.disturb()
        self.media.stop()
        self.at(MEDIA_AWAY_MS, self._media_back)

    def _media_back(self) -> None:
        self.disturb()
        self.media.start(other_ports=self.plan.other_ports)
        if self.node is not None and self.node.side.layer is not None:
            self.node.side.media_up()

    def _hears(self, rtp: int, what: str) -> None:
        names = {str(person.rtp): person.human.voice.name for person in self.people}
        for person in self.people:
            if person.rtp == rtp:
                self.at(1, partial(person.hears, names.get(what, what)))
                return

    # The wire.

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """On its way; what the plan says happens to it."""
        self.sent.append((datagram, source, destination))
        self.sent_ms.append(self.now_ms)
        n = len(self.sent)
        plan = self.plan
        if n == plan.poisons:
            self.is_disturbed = True
            first, _, rest = datagram.partition(b"\r\n")
            self._poisoned[datagram] = first + b"\r\n" + POISON + rest
        datagram = self._poisoned.get(datagram, datagram)
        if n in plan.loses:
            self.disturb()
        else:
            self.at(WIRE_MS, lambda: self._arrive(datagram, source, destination))
        again_ms = plan.doubles.get(n, plan.doubles.get(0))
        if again_ms is not None:
            self.is_disturbed = True
            self.at(WIRE_MS + again_ms, lambda: self._arrive(datagram, source, destination))

    def _arrive(self, datagram: bytes, source: Address, destination: Address) -> None:
        if destination == SHARD:
            if self.node is not None:
                self.node.side.receive(datagram, source)
            return
        second = self.forks.get(destination)
        if second is not None and is_of_a_fork(datagram):
            self._to_person(datagram, source, second)
        self._to_person(datagram, source, destination)

    def _to_person(self, datagram: bytes, source: Address, destination: Address) -> None:
        for person in self.people:
            if person.address == destination and not person.is_dead:
                person.receive(datagram, source)

    # Audits.

    def before_acting(self, person: Person) -> None:
        """Somebody is about to do something: is all as the phones see it?"""
        if self.node is None or self.now_ms - self.disturbed_ms < 6_000:
            return
        found = audit_talk(self.media, self.people)
        if found is not None:
            self.audits += 1
            self.wrong += [f"{what} at {self.now_ms}" for what in found]

    @property
    def records(self) -> dict[str, Any]:
        assert self.node is not None
        return self.node.shard.records

    def facts(self, kind: str) -> list[dict[str, Any]]:
        """What the database has of this kind, in order."""
        return self.database.facts(kind)


def is_of_a_fork(datagram: bytes) -> bool:
    """Goes to every phone that a forking proxy rings: it has no To tag yet."""
    method = datagram[:6]
    if method not in (b"INVITE", b"CANCEL"):
        return False
    to = next(line for line in datagram.split(b"\r\n") if line.startswith(b"To:"))
    return b";tag=" not in to
