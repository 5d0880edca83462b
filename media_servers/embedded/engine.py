"""The embedded media server without its sockets: wanted sessions in, legs and their wiring out.

Invariants: what is applied only ever goes forward in (epoch, counter); an `apply` is done as a
whole or not at all; the same wanted state gives the same SDP, byte for byte.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from media_servers.embedded import negotiation
from media_servers.embedded.clock import Clock
from media_servers.embedded.leg import Leg, Line
from media_servers.embedded.negotiation import Media
from media_servers.embedded.players import Sound
from media_servers.embedded.recording import Recorder
from media_servers.embedded.wiring import Live, Wiring
from media_servers.verbs import (
    MAX_EVENTS,
    MAX_LEGS,
    Applied,
    Digit,
    Event,
    File,
    PlayEnded,
    Refused,
    Session,
)
from media_servers.verbs import Leg as WantedLeg
from rtp.g711 import MIX_MAX

MAX_SESSIONS = 10_000
"""More are refused with "overload": sessions that nobody deletes cannot fill the machine."""

MAX_SHARDS = 4_096
"""Shards whose highest epoch is remembered."""

MAX_ENDED = 64
"""Playings of a session that are remembered as ended."""


class World(Protocol):
    """What the engine needs done."""

    def open_line(self, port: int) -> Line:
        """A port of ours, that very one unless 0. Raises Refused no_ports."""
        ...

    def attach(self, line: Line, leg: Leg) -> None:
        """Let `leg` receive what arrives at `line`."""
        ...

    def find_sound(self, name: str) -> Sound | None:
        """The sound of that name, which may become ready later."""
        ...

    def open_recording(self, name: str) -> Recorder:
        """A recorder that appends to `name`. Raises Refused no_file."""
        ...

    def draw(self) -> int:
        """32 random bits."""
        ...

    def emit(self, shard: str, event: Event) -> None:
        """Tell whoever commands the shard."""
        ...


class Engine:
    """All sessions of one media server at `address`."""

    def __init__(self, world: World, address: str, clock: Clock) -> None:
        self._world = world
        self._address = address
        self._clock = clock
        self._sessions: dict[tuple[str, str], Live] = {}
        self._epochs: dict[str, int] = {}
        self._dialling: dict[int, Leg] = {}
        self._wiring = Wiring(clock, world.find_sound, self._ended)
        self.overloaded = False
        """No new sessions now; those that are there go on, and may change."""

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def heed(self, shard: str, epoch: int) -> None:
        """Somebody speaks for `shard` in `epoch`. Refused old_epoch if a newer one was heard."""
        highest = self._epochs.get(shard)
        if highest is None and len(self._epochs) >= MAX_SHARDS:
            raise Refused("overload", f"{MAX_SHARDS} shards")
        if highest is not None and epoch < highest:
            raise Refused("old_epoch", f"{epoch} < {highest}")
        self._epochs[shard] = epoch

    def is_current(self, shard: str, epoch: int) -> bool:
        """No newer epoch of the shard was heard."""
        return epoch >= self._epochs.get(shard, 0)

    def apply(self, wanted: Session, now_ms: int) -> Applied:
        """Make it so. What was overtaken is not done, and answered with what is. Raises Refused."""
        self.heed(wanted.shard, wanted.epoch)
        key = (wanted.shard, wanted.id)
        live = self._sessions.get(key)
        if live is not None:
            self._acknowledge(live, wanted.seen)
            if (wanted.epoch, wanted.counter) <= (live.wanted.epoch, live.wanted.counter):
                return live.applied
        elif self.overloaded or len(self._sessions) >= MAX_SESSIONS:
            raise Refused("overload", f"{len(self._sessions)} sessions")
        self._check(wanted)
        live = live or Live(wanted)
        opened: dict[str, Line] = {}
        recorder = None
        try:
            if wanted.record and (live.recorder is None or live.wanted.record != wanted.record):
                recorder = self._world.open_recording(wanted.record)
            ports = self._open(live, wanted, opened)
            sdps, media = self._describe(live, wanted, ports)
        except Exception:
            for line in opened.values():
                line.close()
            if recorder is not None:
                recorder.close()
            raise
        self._sessions[key] = live
        self._seat(live, wanted, opened, media)
        if live.recorder is not None and live.wanted.record != wanted.record:
            self._stop_recording(live)
        if recorder is not None:
            live.recorder = recorder
            self._clock.add(recorder)
        live.wanted = wanted
        live.n = max(live.n, wanted.seen)
        live.applied = Applied(wanted.id, wanted.counter, sdps, ports)
        self._wiring.connect(live)
        return live.applied

    def delete(self, shard: str, epoch: int, session: str) -> None:
        """End a session; no matter if there is none. Raises Refused old_epoch."""
        self.heed(shard, epoch)
        self.discard(shard, session)

    def discard(self, shard: str, session: str) -> None:
        """End a session, whoever commands it."""
        live = self._sessions.pop((shard, session), None)
        if live is not None:
            self._end(live)

    def query(self, shard: str, epoch: int | None) -> dict[str, int]:
        """The counters of the shard's sessions by their ids. Raises Refused old_epoch."""
        if epoch is not None:
            self.heed(shard, epoch)
        return {
            session: live.wanted.counter
            for (of, session), live in self._sessions.items()
            if of == shard
        }

    def pending(self, shard: str) -> Iterable[Event]:
        """The shard's events that nobody has acknowledged, each session's in order."""
        for (of, _), live in self._sessions.items():
            if of == shard:
                yield from live.pending

    def expire(self, now_ms: int) -> None:
        """To be called some times a second: ends digits whose end was lost."""
        for key, leg in tuple(self._dialling.items()):
            if leg.expire(now_ms):
                del self._dialling[key]

    def measured(self, session: str) -> dict[str, dict[str, float]]:
        """What was heard from each phone of a session, by leg."""
        return {
            leg.name: {
                "heard": leg.heard.packets,
                "missing": leg.heard.missing,
                "duplicates": leg.heard.duplicates,
                "largest_gap_ms": leg.heard.largest_gap_ms,
                "jitter_ms": leg.heard.jitter_ms,
                "sent": leg.sent,
                "unsent": leg.unsent,
                "junk": leg.junk,
            }
            for (_, of), live in self._sessions.items()
            if of == session
            for leg in live.legs.values()
        }

    def close(self) -> None:
        """End everything; recordings are complete after it."""
        for live in self._sessions.values():
            self._end(live)
        self._sessions.clear()

    # --- one apply ---

    def _check(self, wanted: Session) -> None:
        names = [leg.name for leg in wanted.legs]
        if len(names) > MAX_LEGS or len(set(names)) < len(names):
            raise Refused("overload", f"{len(names)} legs, or one twice")
        for leg in wanted.legs:
            if len(leg.hears) > MIX_MAX:
                raise Refused("overload", f"{len(leg.hears)} sources")
            for source in leg.hears:
                if isinstance(source, File) and self._world.find_sound(source.name) is None:
                    raise Refused("no_file", source.name)

    def _open(self, live: Live, wanted: Session, opened: dict[str, Line]) -> dict[str, int]:
        """The port of each wanted leg; new ones are added to `opened`."""
        ports = {}
        for leg in wanted.legs:
            have = live.legs.get(leg.name)
            if have is None or leg.port not in (0, have.line.port):
                opened[leg.name] = self._world.open_line(leg.port)
                ports[leg.name] = opened[leg.name].port
            else:
                ports[leg.name] = have.line.port
        return ports

    def _describe(
        self, live: Live, wanted: Session, ports: dict[str, int]
    ) -> tuple[dict[str, str], dict[str, Media]]:
        """Our SDP and what was agreed on, by leg."""
        sdps, media = {}, {}
        before = {leg.name: leg for leg in live.wanted.legs} if live.legs else {}
        for leg in wanted.legs:
            old = before.get(leg.name)
            port = ports[leg.name]
            if (
                old is not None
                and (old.remote, old.offers, old.version) == (leg.remote, leg.offers, leg.version)
                and live.applied.ports.get(leg.name) == port
            ):
                if leg.name in live.applied.sdps:
                    sdps[leg.name] = live.applied.sdps[leg.name]
                if leg.name in live.media:
                    media[leg.name] = live.media[leg.name]
                continue
            ours = self._ours(wanted, leg, port)
            if ours:
                sdps[leg.name] = ours
                if leg.remote:
                    media[leg.name] = negotiation.agreed(ours, leg.remote)
        return sdps, media

    def _ours(self, wanted: Session, leg: WantedLeg, port: int) -> str:
        origin = f"{wanted.id}/{leg.name}"
        if leg.offers:
            return negotiation.our_offer(
                address=self._address, port=port, origin=origin, version=leg.version
            )
        if leg.remote:
            return negotiation.our_answer(
                leg.remote, address=self._address, port=port, origin=origin, version=leg.version
            )
        return ""

    def _seat(
        self, live: Live, wanted: Session, opened: dict[str, Line], media: dict[str, Media]
    ) -> None:
        """Let there be the wanted legs and no others, each with its media."""
        names = {leg.name for leg in wanted.legs}
        for name in [name for name in live.legs if name not in names or name in opened]:
            self._close(live.legs.pop(name))
            live.media.pop(name, None)
            live.routes.pop(name, None)
        # In the order wanted: the first leg is the one that is recorded.
        for name, line in opened.items():
            leg = Leg(name, line, self._world.draw, self._digits(live))
            live.legs[name] = leg
            self._world.attach(line, leg)
        live.legs = {leg.name: live.legs[leg.name] for leg in wanted.legs}
        for name, agreed in media.items():
            if live.media.get(name) != agreed:
                live.legs[name].point(agreed)
        live.media = media

    def _end(self, live: Live) -> None:
        for leg in live.legs.values():
            self._close(leg)
        self._stop_recording(live)

    def _close(self, leg: Leg) -> None:
        self._clock.drop(leg)
        leg.line.close()
        leg.sinks = ()
        leg.taps = ()
        leg.timed = None
        leg.forget()
        self._dialling.pop(id(leg), None)

    def _stop_recording(self, live: Live) -> None:
        if live.recorder is not None:
            self._clock.drop(live.recorder)
            live.recorder.close()
            live.recorder = None

    # --- events ---

    def _ended(self, live: Live, play: int) -> None:
        live.ended = [*live.ended[1 - MAX_ENDED :], play]
        self._happen(live, PlayEnded(live.wanted.id, live.n + 1, play))

    def _digits(self, live: Live) -> Callable[[Leg, str], None]:
        def happened(leg: Leg, digits: str) -> None:
            if not digits:
                self._dialling[id(leg)] = leg
            for digit in digits:
                self._happen(live, Digit(live.wanted.id, live.n + 1, leg.name, digit))

        return happened

    def _happen(self, live: Live, event: Event) -> None:
        live.n = event.n
        if len(live.pending) >= MAX_EVENTS:
            oldest = next((one for one in live.pending if isinstance(one, Digit)), live.pending[0])
            live.pending.remove(oldest)
        live.pending.append(event)
        self._world.emit(live.wanted.shard, event)

    def _acknowledge(self, live: Live, seen: int) -> None:
        live.pending = [event for event in live.pending if event.n > seen]
