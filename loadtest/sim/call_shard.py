"""The SIP, media and database side of one shard of calls on virtual time.

What `node.shard` is to a real node: everything that a committed step asks for is performed here,
and everything that happens becomes an event of the shard.
"""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec.structs import replace

from calls import effects, inputs
from calls.machine import Calls
from calls.records import Event
from cluster.kept_events import KeptEvents
from cluster.runtime import Shard
from loadtest.sim.database import Database
from loadtest.sim.media import MediaServer
from media_servers import verbs
from media_servers.verbs import Refused, Session
from sip.dialog import origin, refuse
from sip.message import Message, refusal_headers
from sip.transaction import Layer
from sip.uri import Address, user_of

MEDIA_MS = 1
"""From the node to the media server, and back."""
DATABASE_MS = 20
RETRY_MS = 500
FIND_MS = 50
"""The database is asked so long after a loss what was lost, and again FIND_AGAIN_MS later."""
FIND_AGAIN_MS = 1_000

Call = Callable[[], None]


class Here(Protocol):
    """The process that it is on."""

    def now_ms(self) -> int: ...

    def at(self, delay_ms: int, call: Call, /) -> None:
        """In this process, so much later, unless it dies before."""

    def travel(self, delay_ms: int, call: Call, /) -> None:
        """On the way, whatever becomes of the process."""

    def transmit(self, datagram: bytes, destination: Address, /) -> None:
        """From the shard's address."""

    def refuses(self) -> str:
        """Why a new call is turned away now; "": it is not."""

    def failed(self, fault: Exception, /) -> None:
        """Something raised below the transaction layer."""


class CallShard:
    """The outside of one shard of calls while it is active here."""

    def __init__(
        self, here: Here, shard: Shard, sip: Address, media: MediaServer, database: Database
    ) -> None:
        self.shard = shard
        self.sip = sip
        self.layer: Layer | None = None
        self.epoch = 0
        self._here = here
        self._media = media
        self._database = database
        self._held = KeptEvents(shard.handle)
        self._post = self._held.post
        self._outbox: dict[str, list[Event]] = {}
        self._drains = False

    # Coming and going.

    @property
    def is_reading(self) -> bool:
        """Does it read what comes to the shard's address?"""
        return self.layer is not None and not self._held.is_held

    def serve(self) -> None:
        """The shard is ours and its barrier committed."""
        self.epoch = self.shard.state().epoch
        self.layer = Layer(
            self._here.transmit,
            self,
            self._here.now_ms(),
            sent_by=f"{self.sip[0]}:{self.sip[1]}",
            acks_refusals=False,
            on_fault=self._here.failed,
        )
        if self._media.is_up:
            self.media_up()

    def hold(self, held: bool) -> None:
        """While it is handed over nothing is read: whoever leads then finds all of it unread."""
        if held:
            self._held.hold()
        else:
            self._held.go_on()

    def release(self) -> None:
        """The shard is not ours any more: nothing of what was under way goes on."""
        self.layer = None
        self._held.forget()
        self._outbox.clear()

    # SIP.

    def receive(self, datagram: bytes, source: Address) -> None:
        """A datagram has come to the shard's address."""
        if self.layer is not None:
            self.layer.receive(datagram, source, self._here.now_ms())

    def tick(self) -> None:
        if self.layer is not None:
            self.layer.tick(self._here.now_ms())

    def on_request(self, msg: Message, source: Address) -> None:
        if msg.method == "INVITE" and not msg.to_tag:
            cause = self._here.refuses()
            if cause and not self._knows(msg):
                self._turn_away(msg, source, cause)
                return
        self._post(inputs.Requested(msg, source))

    def _knows(self, invite: Message) -> bool:
        machine = self.shard.machine
        assert isinstance(machine, Calls)
        return machine.knows(self.shard.records, invite)

    def _turn_away(self, msg: Message, source: Address, cause: str) -> None:
        assert self.layer is not None
        answer = refuse(msg, source, 503, headers=refusal_headers(msg, 503))
        self.layer.respond(origin(msg, source), 503, answer, self._here.now_ms())
        self._post(inputs.TurnedAway(user_of(msg.uri), cause))

    def on_response(self, msg: Message, source: Address) -> None:
        self._post(inputs.Responded(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self._post(inputs.TimedOut(branch, method))

    # Effects.

    def perform(self, effect: Any) -> None:
        """Do what a committed step asks for."""
        now_ms = self._here.now_ms()
        layer = self.layer
        match effect:
            case effects.ApplyMedia(session):
                self._apply(session)
            case effects.DeleteMedia(session):
                self._delete(session)
            case effects.Publish(key, events):
                self._publish(key, events)
            case effects.GoOn():
                self._here.at(0, lambda: self._post(inputs.Settle()))
            case effects.FindLost(epoch):
                self._here.at(FIND_MS, lambda: self._find_lost(epoch, self.epoch))
            case _ if layer is None:
                pass
            case effects.Respond(origin, status, datagram):
                layer.respond(origin, status, datagram, now_ms)
            case effects.Request(method, branch, datagram, destination):
                layer.request(method, branch, datagram, destination, now_ms)
            case effects.Send(datagram, destination):
                layer.send(datagram, destination)
            case effects.Acked(origin):
                layer.acked(origin)
            case _:
                raise TypeError(effect)

    # The media server.

    def _ask(self, do: Callable[[], Any], unreachable: Call) -> None:
        """One command: there, done, and back; what `do` gives is the event that follows."""
        here, media = self._here, self._media
        life, epoch = media.life, self.epoch

        def back(event: Any) -> None:
            if self.layer is not None and self.epoch == epoch:
                self._post(event)

        def there() -> None:
            if not media.is_up or media.life != life:
                here.at(MEDIA_MS, unreachable)
                return
            event = do()
            if event is not None:
                here.at(MEDIA_MS, lambda: back(event))

        if media.is_up:
            here.travel(MEDIA_MS, there)
        else:
            here.at(0, unreachable)

    def _apply(self, session: Session) -> None:
        asked = replace(session, epoch=self.epoch)

        def do() -> Any:
            try:
                done = self._media.apply(asked)
            except Refused as refused:
                return inputs.MediaRefused(session.id, session.counter, refused.reason)
            return inputs.MediaApplied(session.id, done.counter, done.sdps, done.ports)

        refused = inputs.MediaRefused(session.id, session.counter, "unreachable")
        self._ask(do, lambda: self._post(refused))

    def _delete(self, session: str) -> None:
        shard, epoch = self.shard.name, self.epoch

        def do() -> None:
            if epoch >= self._media.epochs.get(shard, 0):
                self._media.delete(shard, epoch, session)

        self._ask(do, lambda: None)

    def media_up(self) -> None:
        """Connected: have the events, and compare."""
        shard, epoch = self.shard.name, self.epoch
        self._media.watch(shard, epoch, self._heard)

        def do() -> Any:
            if epoch < self._media.epochs.get(shard, 0):
                return None
            return inputs.MediaSessions(self._media.query(shard, epoch))

        self._ask(do, lambda: None)

    def _heard(self, event: verbs.Event) -> None:
        if self.layer is None:
            return
        if isinstance(event, verbs.PlayEnded):
            ended = inputs.PlayEnded(event.session, event.n, event.play)
            self._here.at(MEDIA_MS, lambda: self._post(ended))
        else:
            digit = inputs.Digit(event.session, event.n, event.leg, event.digit)
            self._here.at(MEDIA_MS, lambda: self._post(digit))

    # The database.

    def _publish(self, key: str, events: list[Event]) -> None:
        self._outbox.setdefault(key, events)
        self._drain_in(DATABASE_MS)

    def _drain_in(self, delay_ms: int) -> None:
        if not self._drains:
            self._drains = True
            self._here.at(delay_ms, self._drain)

    def _drain(self) -> None:
        self._drains = False
        batch = list(self._outbox)
        events = [event for key in batch for event in self._outbox[key]]
        if not events:
            return
        if not self._database.insert(events):
            self._drain_in(RETRY_MS)
            return
        for key in batch:
            del self._outbox[key]
        self._post(inputs.Drained(batch))

    def _find_lost(self, before: int, epoch: int) -> None:
        if self.layer is None or self.epoch != epoch:
            return
        known = self._database.left_behind(self.shard.name, before)
        if known is None:
            self._here.at(FIND_AGAIN_MS, lambda: self._find_lost(before, epoch))
        else:
            self._post(known)
