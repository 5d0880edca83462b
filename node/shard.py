"""One shard of calls on one node: its SIP address, its transactions, its media, its outbox.

Everything a committed step asks for is performed here; everything that happens becomes an event of
the shard. Decisions are in `calls`; what is here is wiring.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from calls import effects, inputs
from calls.centre import Address
from calls.elsewhere import Elsewhere
from cluster.io.host import KEEP_ADDRESS_MS
from cluster.kept_events import KeptEvents
from failover.io.inbox import pass_socket
from media_servers import verbs
from media_servers.io.client import Client
from media_servers.verbs import Applied, MediaError, Refused, Session, Unreachable
from node.events_db import EventsDb
from node.messages import MessageRing
from node.outbox import OutboxDrain
from node.overload import Lag
from node.relay import Relay
from node.sip_probe import SipProbe
from sip.dialog import origin, refuse
from sip.io.udp import Port
from sip.message import Message, refusal_headers
from sip.transaction import Layer
from sip.uri import user_of

MEDIA_DEADLINE_MS = 3_000
"""A media server that does not answer so long is unreachable."""
TICK_MS = 10

log = structlog.get_logger()


def now_ms() -> int:
    """Monotonic milliseconds of this machine."""
    return time.monotonic_ns() // 1_000_000


class CallShard:
    """The IO of one shard while it is active here."""

    def __init__(
        self,
        name: str,
        sip: Address,
        *,
        media: Client,
        database: EventsDb,
        ring: MessageRing,
        refuse: Callable[[str], str],
        knows: Callable[[str, Message], bool],
        elsewhere: Callable[[str, Message], Elsewhere | None],
        is_shard: Callable[[Address], bool],
        is_late: Callable[[], bool],
        find_lost: Callable[[str, int], None],
        is_slow: Callable[[str], bool],
        give_away: Callable[[str], None],
        post: Callable[[str, Any], None],
    ) -> None:
        """`refuse(shard)`: why this node takes no new call of it now, or nothing; `knows(shard,
        invite)`: is it a repeat of one that was taken; `elsewhere(shard, request)`: where it
        belongs if not here; `is_shard(address)`: is it the SIP address of any shard; `is_late()`:
        is this node's loop; `find_lost(shard, epoch)`: the calls that
        were open before that epoch are to be closed; `is_slow(shard)`: nothing of it is answered
        in time now; `give_away(shard)`: its address is dead here."""
        self.name = name
        self.sip = sip
        self.epoch = 0
        self._media = media
        self._ring = ring
        self._refuse = refuse
        self._knows = knows
        self._find_lost = find_lost
        self._held = KeptEvents(lambda event: post(name, event))
        self._post = self._held.post
        self._port: Port | None = None
        self._kept: asyncio.TimerHandle | None = None
        """Closes the port of a shard that has left, if nobody asks for it."""
        self._layer: Layer | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.probe = SipProbe(sip, excused=lambda: is_slow(name), hand_over=lambda: give_away(name))
        self.relay = Relay(
            sip,
            elsewhere=lambda msg: elsewhere(name, msg),
            is_shard=is_shard,
            is_late=is_late,
            send=self._send,
            answer=self._answer,
        )
        self.outbox = OutboxDrain(name, database, self._post)
        self.port_dropped = 0
        self.commit_lag = Lag()
        """How long its steps wait for their commit."""

    @property
    def counters(self) -> dict[str, int]:
        """What the transaction layer counted since this node became active."""
        return self._layer.counters if self._layer is not None else {}

    # Coming and going.

    def bind(self) -> None:
        """Take the shard's address. Raises OSError while another process has it."""
        if self._kept is not None:  # ours since we led before
            self._kept.cancel()
            self._kept = None
        if self._port is None:
            self._port = Port.bind(self.sip)
            log.info("sip bound", shard=self.name, rcvbuf=self._port.rcvbuf)

    def adopt(self, sock: socket.socket) -> None:
        """The address comes with what is unread in it, from the node that led before."""
        self.close()
        self._port = Port(sock)
        log.info("sip passed on", shard=self.name, rcvbuf=self._port.rcvbuf)

    def serve(self, epoch: int) -> None:
        """The shard is ours and its barrier committed: read the address."""
        assert self._port is not None
        self.epoch = epoch
        self._layer = Layer(
            self._send,
            self,
            now_ms(),
            sent_by=f"{self.sip[0]}:{self.sip[1]}",
            acks_refusals=False,
            aside=self.relay.aside,
            on_fault=lambda error: log.error(
                "sip fault", shard=self.name, error=type(error).__name__
            ),
        )
        self._port.start(asyncio.get_running_loop(), self._receive)
        self.probe.start()
        self._media.watch(self.name, epoch)
        if self._media.is_up:
            self.compare_media()
        self._tick()

    def hold(self, held: bool) -> None:
        """While it is handed over nothing is read: whoever leads then finds all of it unread."""
        if self._port is None:
            return
        if held:
            self._port.pause()
            self._held.hold()
            return
        self._held.go_on()
        self._port.resume()

    def release(self) -> None:
        """The shard is not ours any more: all that was under way ends.

        The address waits, unread, for its new active to ask for it; or is closed after a while.
        """
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._port is not None and self._kept is None:
            self._port.pause()
            loop = asyncio.get_running_loop()
            self._kept = loop.call_later(KEEP_ADDRESS_MS / 1000, self.close)
        self._held.forget()
        self._layer = None
        self.probe.stop()
        self._media.unwatch(self.name)
        self.outbox.stop()
        for task in list(self._tasks):
            task.cancel()

    def let_go(self, inbox: str) -> None:
        """Give the address up, to the process whose inbox this is, or to whoever binds it."""
        self.release()
        if self._port is not None and inbox and not self.pass_on(inbox):
            log.warning("sip not passed on", shard=self.name)
        self.close()

    def pass_on(self, inbox: str) -> bool:
        """Give the address to the process whose inbox this is. False: it is not here."""
        if self._port is None or not pass_socket(self._port.socket, self.name, inbox):
            return False
        self.close()
        return True

    def close(self) -> None:
        """Let go of the address. May be called again."""
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None
        if self._port is not None:
            self._port.close()
            self._port = None

    # SIP.

    def _send(self, datagram: bytes, destination: Address) -> None:
        if self._port is not None:
            if destination != self.probe.address:
                self._ring.saw(self.name, "out", datagram, destination)
            self._port.send(datagram, destination)

    def _receive(self, datagram: bytes, source: Address) -> None:
        if self._layer is not None:
            if source != self.probe.address:
                self._ring.saw(self.name, "in", datagram, source)
            self._layer.receive(datagram, source, now_ms())

    def _tick(self) -> None:
        if self._layer is not None:
            self._layer.tick(now_ms())
            self._ticker = asyncio.get_running_loop().call_later(TICK_MS / 1000, self._tick)

    def on_request(self, msg: Message, source: Address) -> None:
        if msg.method == "INVITE" and not msg.to_tag:
            cause = "outbox" if self.outbox.is_full else self._refuse(self.name)
            if cause and not self._knows(self.name, msg):
                self._turn_away(msg, source, cause)
                return
        self._post(inputs.Requested(msg, source))

    def _turn_away(self, msg: Message, source: Address, cause: str) -> None:
        """503 at once: it follows from no record, and commits may be what is slow."""
        self._answer(msg, source, 503, refusal_headers(msg, 503))
        self._post(inputs.TurnedAway(user_of(msg.uri), cause))

    def _answer(
        self, msg: Message, source: Address, status: int, headers: Sequence[tuple[str, str]]
    ) -> None:
        assert self._layer is not None
        datagram = refuse(msg, source, status, headers=headers)
        self._layer.respond(origin(msg, source), status, datagram, now_ms())

    def on_response(self, msg: Message, source: Address) -> None:
        self._post(inputs.Responded(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self._post(inputs.TimedOut(branch, method))

    # Effects.

    def perform(self, effect: Any) -> None:
        """Do what a committed step asks for."""
        layer = self._layer
        match effect:
            case effects.Respond():
                if layer is not None:
                    layer.respond(effect.origin, effect.status, effect.datagram, now_ms())
            case effects.Request():
                if layer is not None:
                    layer.request(
                        effect.method,
                        effect.branch,
                        effect.datagram,
                        effect.destination,
                        now_ms(),
                    )
            case effects.Send():
                if layer is not None:
                    layer.send(effect.datagram, effect.destination)
            case effects.Acked():
                if layer is not None:
                    layer.acked(effect.origin)
            case effects.ApplyMedia():
                self._apply(effect.session)
            case effects.DeleteMedia():
                # Nobody waits for it: `compare_media` finds what is left.
                self._media.begin_delete(self.name, self.epoch, effect.session)
            case effects.Publish():
                self.outbox.publish(effect)
            case effects.GoOn():
                self._post(inputs.Settle())
            case effects.FindLost():
                self._find_lost(self.name, effect.epoch)
            case _:
                raise TypeError(f"nobody performs {type(effect).__name__}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Media.

    def _apply(self, session: Session) -> None:
        epoch = self.epoch

        def done(result: Applied | MediaError) -> None:
            if self._layer is None or self.epoch != epoch:
                return  # the shard has left meanwhile
            match result:
                case Applied():
                    self._post(
                        inputs.MediaApplied(session.id, result.counter, result.sdps, result.ports)
                    )
                case Refused():
                    log.warning(
                        "media refused", shard=self.name, call=session.id, reason=result.reason
                    )
                    self._post(inputs.MediaRefused(session.id, session.counter, result.reason))
                case _:
                    self._post(inputs.MediaRefused(session.id, session.counter, "unreachable"))

        self._media.begin_apply(replace(session, epoch=epoch), MEDIA_DEADLINE_MS, done)

    def compare_media(self) -> None:
        """Ask which sessions the media server has, and let the calls compare them with theirs."""
        self._spawn(self._compare())

    async def _compare(self) -> None:
        try:
            sessions = await self._media.query(self.name, self.epoch)
        except (Refused, Unreachable):
            return  # the next connection asks again
        self._post(inputs.MediaSessions(sorted(sessions)))

    def on_media_event(self, event: verbs.Event) -> None:
        match event:
            case verbs.PlayEnded(session, n, play):
                self._post(inputs.PlayEnded(session, n, play))
            case verbs.Digit(session, n, leg, digit):
                self._post(inputs.Digit(session, n, leg, digit))
