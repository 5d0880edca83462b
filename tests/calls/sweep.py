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

from msgspec.structs import replace

from calls import effects, inputs
from calls.centre import Centre
from calls.machine import Calls
from calls.records import Event
from cluster.machine import Redrive, Step
from cluster.messages import CoreMessage
from cluster.roles import Found
from cluster.runtime import Shard
from cluster.snapshot import Snapshot
from cluster.store import Lost, ShardKey, Unknown, Won, decode_key, encode_key
from media_servers import verbs
from media_servers.verbs import Refused, Session
from sip.message import Message
from sip.transaction import Layer
from sip.uri import Address
from tests.calls.audit import audit_records, audit_talk
from tests.calls.media import MediaServer
from tests.calls.people import SHARD, Person

TAKEOVER_MS = 60
WIRE_MS = 1
MEDIA_MS = 1
"""From the node to the media server, and back."""
MEDIA_AWAY_MS = 300
DATABASE_MS = 20
WALL_MS = 1_700_000_000_000
QUIET_MS = 40_000
"""Watched on, once everybody has hung up."""
RUN_MS_MAX = 400_000
TURNS_MAX = 20_000
POISON = b"X-Poison: yes\r\n"


class Planted(ValueError):
    """A bug in a step, put there on purpose."""


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


class Watched(Calls):
    """The product's machine; the world is told of each step, and may have it raise."""

    world: "Sweep"

    def step(self, tx: Step, event: Any) -> None:
        world = self.world
        super().step(tx, event)
        world.stepped(self, tx, event)
        if isinstance(event, inputs.Requested | inputs.Responded) and event.message.get("x-poison"):
            raise Planted(event.message.method or str(event.message.status))

    def redrive(self, tx: Step, key: str) -> None:
        super().redrive(tx, key)
        self.world.stepped(self, tx, Redrive(key))
        if self.world.plan.poisons_redrive == key.partition("/")[0]:
            raise Planted(key)


class Node:
    """One life of a node: the outside of its shard, and what `node.shard` wires in a real one."""

    def __init__(self, world: "Sweep", number: int) -> None:
        self.world = world
        self.alive = True
        self.layer: Layer | None = None
        self.epoch = 0
        self._outbox: dict[str, list[Event]] = {}
        self._drains = False

        def machine() -> Watched:
            made = world.machine("main", SHARD, world.centre)
            made.world = world
            return made

        self.shard = Shard(
            name="main",
            node="n",
            incarnation=str(number),
            preferred=("n",),
            copies=1,
            machine=machine,
            outside=self,
            check=True,
        )

    def at(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.world.at(delay_ms, lambda: call() if self.alive else None)

    def post(self, event: Any) -> None:
        self.shard.handle(event)

    @property
    def next_ms(self) -> int | None:
        times = (self.shard.next_ms(), self.layer.next_ms if self.layer is not None else None)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now_ms: int) -> None:
        if self.layer is not None:
            self.layer.tick(now_ms)
        self.shard.tick()

    # sip.transaction.User

    def on_request(self, msg: Message, source: Address) -> None:
        is_new = msg.method == "INVITE" and not msg.to_tag
        refuse = "no_media" if is_new and not self.world.media.is_up else ""
        self.post(inputs.Requested(msg, source, refuse))

    def on_response(self, msg: Message, source: Address) -> None:
        self.post(inputs.Responded(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self.world.timeouts.append(f"{method} at {self.world.now_ms}")
        self.post(inputs.TimedOut(branch, method))

    # cluster.runtime.Outside

    def now_ms(self) -> int:
        return self.world.now_ms

    def wall_ms(self) -> int:
        return WALL_MS + self.world.now_ms

    def random(self) -> bytes:
        return self.world.random.randbytes(32)

    def send(self, node: str, message: CoreMessage) -> None:
        raise AssertionError("this shard has one copy")

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.at(delay_ms, call)

    def soon(self, call: Callable[[], None]) -> None:
        self.at(0, call)

    def gather(self, delay_ms: int) -> None:
        self.at(delay_ms, self.shard.flush)

    def read(self, done: Callable[[Found | None], None]) -> None:
        self.at(0, lambda: done(self.world.key))

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        assert self.world.key[0] == rev
        self.world.key = (rev + 1, value)
        self.at(0, lambda: done(Won(rev + 1)))

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        raise AssertionError("this shard has one copy")

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        raise AssertionError("nothing is ever lost")

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        self.at(0, lambda: done(self.world.standby))

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        raise AssertionError("nobody stops it")

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        self.at(0, moved)

    def serving(self, *, lost: bool) -> None:
        world = self.world
        self.epoch = self.shard.state().epoch
        self.layer = Layer(
            lambda datagram, dst: world.send(datagram, SHARD, dst) if self.alive else None,
            self,
            world.now_ms,
            sent_by=f"{SHARD[0]}:{SHARD[1]}",
            acks_refusals=False,
            on_fault=world.faults.append,
        )
        if world.media.is_up:
            self.media_up()
        self.post(inputs.Configure(world.centre))

    def deposed(self) -> None:
        raise AssertionError("nobody else leads")

    def note(self, what: str, **fields: object) -> None:
        if what in ("step undone", "event dropped"):
            self.world.undone.append(f"{what}: {fields}")

    def broken(self, error: BaseException) -> None:
        raise error

    def perform(self, effect: Any) -> None:
        if not self.alive or not self.world.performs(effect):
            return
        now_ms = self.world.now_ms
        layer = self.layer
        assert layer is not None
        match effect:
            case effects.Respond(origin, status, datagram):
                layer.respond(origin, status, datagram, now_ms)
            case effects.Request(method, branch, datagram, destination):
                layer.request(method, branch, datagram, destination, now_ms)
            case effects.Send(datagram, destination):
                layer.send(datagram, destination)
            case effects.Acked(origin):
                layer.acked(origin)
            case effects.ApplyMedia(session):
                self._apply(session)
            case effects.DeleteMedia(session):
                self._delete(session)
            case effects.Publish(key, events):
                self._publish(key, events)
            case _:
                raise TypeError(effect)

    # The media server.

    def _ask(self, do: Callable[[], Any], unreachable: Callable[[], None]) -> None:
        """One command: there, done, and back; what `do` gives is the event that follows."""
        media = self.world.media
        life = media.life

        def there() -> None:
            if not media.is_up or media.life != life:
                self.at(MEDIA_MS, unreachable)
                return
            event = do()
            self.at(MEDIA_MS, lambda: self.post(event) if event is not None else None)

        if media.is_up:
            self.world.at(MEDIA_MS, there)
        else:
            self.at(0, unreachable)

    def _apply(self, session: Session) -> None:
        asked = replace(session, epoch=self.epoch)

        def do() -> Any:
            try:
                done = self.world.media.apply(asked)
            except Refused as refused:
                return inputs.MediaRefused(session.id, session.counter, refused.reason)
            return inputs.MediaApplied(session.id, done.counter, done.sdps, done.ports)

        refused = inputs.MediaRefused(session.id, session.counter, "unreachable")
        self._ask(do, lambda: self.post(refused))

    def _delete(self, session: str) -> None:
        def do() -> None:
            if self.epoch >= self.world.media.epoch:
                self.world.media.delete(self.epoch, session)

        self._ask(do, lambda: None)

    def media_up(self) -> None:
        """Connected: have the events, and compare."""
        for event in self.world.media.pending():
            self.heard(event)

        def do() -> Any:
            return inputs.MediaSessions(self.world.media.query(self.epoch))

        self._ask(do, lambda: None)

    def heard(self, event: verbs.Event) -> None:
        if self.layer is None:
            return
        if isinstance(event, verbs.PlayEnded):
            ended = inputs.PlayEnded(event.session, event.n, event.play)
            self.at(MEDIA_MS, lambda: self.post(ended))
        else:
            digit = inputs.Digit(event.session, event.n, event.leg, event.digit)
            self.at(MEDIA_MS, lambda: self.post(digit))

    # The database.

    def _publish(self, key: str, events: list[Event]) -> None:
        self._outbox[key] = events
        if not self._drains:
            self._drains = True
            self.at(DATABASE_MS, self._drain)

    def _drain(self) -> None:
        self._drains = False
        batch, self._outbox = self._outbox, {}
        for events in batch.values():
            for event in events:
                self.world.database.setdefault(event.id, event)
        self.post(inputs.Drained(list(batch)))


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
        self.database: dict[str, Event] = {}
        self.people: list[Person] = []
        self.forks: dict[Address, Address] = {}
        """A proxy rings the second phone too when the first is called."""
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.sent_ms: list[int] = []
        self.faults: list[Exception] = []
        self.undone: list[str] = []
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
        self.media = MediaServer(self.at, self._media_event, self._hears)
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
        if self.node is not None and self.node.layer is not None:
            self.node.media_up()

    def _media_event(self, event: verbs.Event) -> None:
        if self.node is not None:
            self.node.heard(event)

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
            if self.node is not None and self.node.layer is not None:
                self.node.layer.receive(datagram, source, self.now_ms)
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
        return [
            event.fields | {"call": event.call}
            for event in self.database.values()
            if event.kind == kind
        ]


def is_of_a_fork(datagram: bytes) -> bool:
    """Goes to every phone that a forking proxy rings: it has no To tag yet."""
    method = datagram[:6]
    if method not in (b"INVITE", b"CANCEL"):
        return False
    to = next(line for line in datagram.split(b"\r\n") if line.startswith(b"To:"))
    return b";tag=" not in to


def describe_effect(effect: Any) -> str:
    """An effect in a word or two."""
    match effect:
        case effects.Respond(origin=origin, status=status):
            return f"Respond {status} {origin.method}"
        case effects.Request(method=method):
            return f"Request {method}"
        case _:
            return type(effect).__name__


def describe(event: Any) -> str:
    """An event in a word or two."""
    match event:
        case inputs.Requested(message=msg):
            return f"Requested {msg.method}"
        case inputs.Responded(message=msg):
            return f"Responded {msg.status} {msg.cseq_method}"
        case _:
            key = getattr(event, "key", "")
            return f"{type(event).__name__} {key.partition('/')[0]}".strip()
