"""A node of the sweep: the outside of its shard, and what `node.shard` wires in a real one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from calls import effects, inputs
from calls.machine import Calls
from calls.records import Event
from cluster.journal import Left
from cluster.machine import Redrive, Step
from cluster.messages import CoreMessage
from cluster.roles import Found
from cluster.runtime import Shard
from cluster.snapshot import Snapshot
from cluster.store import Lost, Unknown, Won
from cluster.switch import Switch
from media_servers import verbs
from media_servers.verbs import Refused, Session
from sip.message import Message
from sip.transaction import Layer
from sip.uri import Address
from tests.calls.people import SHARD

if TYPE_CHECKING:
    from tests.calls.sweep import Sweep

MEDIA_MS = 1
"""From the node to the media server, and back."""
DATABASE_MS = 20
WALL_MS = 1_700_000_000_000


class Planted(ValueError):
    """A bug in a step, put there on purpose."""


class Watched(Calls):
    """The product's machine; the world is told of each step, and may have it raise."""

    world: "Sweep"

    def step(self, tx: Step, event: Any) -> None:
        world = self.world
        super().step(tx, event)
        world.stepped(self, tx, event)
        if isinstance(event, inputs.Requested | inputs.Responded) and event.message.get("x-poison"):
            raise Planted(event.message.method or str(event.message.status))

    def decode(self, key: str, data: bytes) -> Any:
        world = self.world
        node = world.node
        if (
            key.partition("/")[0] == world.plan.spoils
            and not world.spoilt
            and node is not None
            and not node.shard.serving
        ):
            world.is_disturbed = True
            world.spoilt.append(key)
            raise Planted(key)
        return super().decode(key, data)

    def redrive(self, tx: Step, key: str) -> None:
        super().redrive(tx, key)
        self.world.stepped(self, tx, Redrive(key))
        if self.world.plan.poisons_redrive == key.partition("/")[0]:
            raise Planted(key)


class Node:
    """One life of a node."""

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
        self.post(inputs.Requested(msg, source))

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

    def is_linked(self, member: str) -> bool:
        return False

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

    def switched(self, switch: Switch) -> None:
        self.post(inputs.Switched(switch.document()))

    def deposed(self) -> None:
        raise AssertionError("nobody else leads")

    def recover(self, done: Callable[[Left | None], None]) -> None:
        self.at(0, lambda: done(None))

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
            case effects.GoOn():
                self.at(0, lambda: self.post(inputs.Settle()))
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
