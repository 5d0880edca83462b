"""A simulated media server: wanted sessions in, SDP and events out, and who hears what.

It keeps what a real one keeps over the death of nodes, orders commands by (epoch, counter), refuses
lower epochs, tells an unacknowledged event again to a new node, and forgets all when it restarts.
Its SDP is made by the embedded server's own rules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

from media_servers.embedded import negotiation
from media_servers.verbs import (
    MAX_EVENTS,
    Applied,
    Digit,
    Event,
    File,
    Party,
    PlayEnded,
    Refused,
    Session,
)
from media_servers.verbs import Leg as WantedLeg
from sip import sdp

ADDRESS = "127.0.0.1"
FIRST_PORT = 30_000
SOUNDS = {"welcome.wav": 1_500, "music.wav": 6_000}
"""Length in ms."""

CACHED = 4_096
"""Descriptions that are remembered: most are asked for many times."""

Hearing = Callable[[int, str], None]
"""Told the RTP port of a phone and what it hears from now on."""
Tell = Callable[[Event], None]


@dataclass
class Live:
    """A session as it is."""

    wanted: Session
    applied: Applied
    n: int = 0
    pending: list[Event] = field(default_factory=list)
    playing: dict[int, None] = field(default_factory=dict)
    ended: dict[int, None] = field(default_factory=dict)


class MediaServer:
    """One server; `at(delay_ms, call)` is the world's clock."""

    def __init__(
        self,
        at: Callable[[int, Callable[[], None]], None],
        hears: Hearing,
    ) -> None:
        self._at = at
        self._hears = hears
        self.is_up = True
        self.down_ms = 0
        """When it died last, by whoever stops it."""
        self.life = 0
        self.sessions: dict[str, Live] = {}
        self.epochs: dict[str, int] = {}
        """The highest epoch that was heard of each shard."""
        self.taken_below = 0
        """Recorded ports below this one belong to somebody else now."""
        self.refuses_hold = False
        """An SDP that is sendonly is not acceptable to it."""
        self._watchers: dict[str, tuple[int, Tell]] = {}
        self._next_port = FIRST_PORT
        self._heard: dict[int, str] = {}

    # Life.

    def stop(self) -> None:
        """It dies, and all sessions with it."""
        self.is_up = False
        self.life += 1
        self.sessions.clear()
        self._watchers.clear()
        self._listen()

    def start(self, *, other_ports: bool) -> None:
        """It is back, and has nothing. `other_ports`: those it had are gone."""
        self.is_up = True
        if other_ports:
            self.taken_below = self._next_port = self._next_port + 100

    def watch(self, shard: str, epoch: int, tell: Tell) -> None:
        """Have the shard's events from now on, and those nobody has acknowledged again."""
        if epoch < self.epochs.get(shard, 0):
            return  # a newer active commands it
        self.epochs[shard] = epoch
        self._watchers[shard] = (epoch, tell)
        for live in self.sessions.values():
            if live.wanted.shard == shard:
                for event in live.pending:
                    tell(event)

    # Commands.

    def apply(self, wanted: Session) -> Applied:
        """Make it so. Raises Refused."""
        self.heed(wanted.shard, wanted.epoch)
        live = self.sessions.get(wanted.id)
        if live is not None:
            live.pending = [event for event in live.pending if event.n > wanted.seen]
            if (wanted.epoch, wanted.counter) <= (live.wanted.epoch, live.wanted.counter):
                return live.applied
        ports: dict[str, int] = {}
        sdps: dict[str, str] = {}
        for leg in wanted.legs:
            if self.refuses_hold and direction_of(leg.remote) == "sendonly":
                raise Refused("not_acceptable", leg.name)
            ports[leg.name] = self._port(live, leg)
            ours = _ours(f"{wanted.id}/{leg.name}", leg, ports[leg.name])
            if ours:
                sdps[leg.name] = ours
            for source in leg.hears:
                if isinstance(source, File) and source.name not in SOUNDS:
                    raise Refused("no_file", source.name)
        applied = Applied(wanted.id, wanted.counter, sdps, ports)
        if live is None:
            live = self.sessions[wanted.id] = Live(wanted, applied)
        live.wanted, live.applied = wanted, applied
        live.n = max(live.n, wanted.seen)
        self._play(live)
        self._listen()
        return applied

    def delete(self, shard: str, epoch: int, session: str) -> None:
        """End a session; no matter if there is none. Raises Refused."""
        self.heed(shard, epoch)
        self.sessions.pop(session, None)
        self._listen()

    def query(self, shard: str, epoch: int) -> list[str]:
        """The shard's sessions. Raises Refused."""
        self.heed(shard, epoch)
        return sorted(name for name, live in self.sessions.items() if live.wanted.shard == shard)

    def press(self, rtp: int, digits: str) -> None:
        """The phone at this RTP port sends digits (RFC 4733)."""
        for live in self.sessions.values():
            for leg in live.wanted.legs:
                if port_of(leg.remote) == rtp:
                    for digit in digits:
                        self._happen(live, Digit(live.wanted.id, live.n + 1, leg.name, digit))

    def heed(self, shard: str, epoch: int) -> None:
        """Somebody speaks for the shard in this epoch. Refused if a newer one was heard."""
        if epoch < self.epochs.get(shard, 0):
            raise Refused("old_epoch")
        self.epochs[shard] = epoch

    def _port(self, live: Live | None, leg: WantedLeg) -> int:
        have = live.applied.ports.get(leg.name) if live is not None else None
        if have is not None and leg.port in (0, have):
            return have
        if leg.port:
            if leg.port < self.taken_below:
                raise Refused("no_ports", str(leg.port))
            return leg.port
        self._next_port += 2
        return self._next_port - 2

    # Sound.

    def _play(self, live: Live) -> None:
        wanted = {
            source.play: source
            for leg in live.wanted.legs
            for source in leg.hears
            if isinstance(source, File) and not source.loop
        }
        live.playing = {play: None for play in live.playing if play in wanted}
        for play, file in wanted.items():
            if play not in live.playing and play not in live.ended:
                live.playing[play] = None
                self._at(SOUNDS[file.name], partial(self._ended, live, play))

    def _ended(self, live: Live, play: int) -> None:
        if self.sessions.get(live.wanted.id) is live and play in live.playing:
            live.ended[play] = None
            self._happen(live, PlayEnded(live.wanted.id, live.n + 1, play))

    def _happen(self, live: Live, event: Event) -> None:
        live.n = event.n
        if len(live.pending) >= MAX_EVENTS:
            del live.pending[0]
        live.pending.append(event)
        epoch, tell = self._watchers.get(live.wanted.shard, (0, None))
        if tell is not None and epoch == self.epochs[live.wanted.shard]:
            tell(event)

    def _listen(self) -> None:
        """Tell the phones what they hear, where that has changed."""
        heard: dict[int, str] = {}
        for live in self.sessions.values():
            for leg in live.wanted.legs:
                port = port_of(leg.remote)
                if port:
                    heard[port] = self._sound(live, leg)
        for port, what in heard.items():
            if self._heard.get(port) != what:
                self._hears(port, what)
        for port in self._heard:
            if port not in heard:
                self._hears(port, "")
        self._heard = heard

    def _sound(self, live: Live, leg: WantedLeg) -> str:
        """The file, or the RTP port of the phone, that a leg hears; "" for silence."""
        for source in leg.hears:
            if isinstance(source, File):
                return source.then if source.play in live.ended else source.name
            if isinstance(source, Party):
                others = [other for other in live.wanted.legs if other.name == source.leg]
                return str(port_of(others[0].remote)) if others and others[0].remote else ""
        return ""


@lru_cache(CACHED)
def _ours(origin: str, leg: WantedLeg, port: int) -> str:
    """Our SDP for a leg, by the embedded server's rules. Raises Refused."""
    version = leg.version
    if leg.offers:
        ours = negotiation.our_offer(address=ADDRESS, port=port, origin=origin, version=version)
    elif leg.remote:
        ours = negotiation.our_answer(
            leg.remote, address=ADDRESS, port=port, origin=origin, version=version
        )
    else:
        return ""
    if leg.remote:
        negotiation.agreed(ours, leg.remote)
    return ours


@lru_cache(CACHED)
def port_of(description: str) -> int:
    """The audio port in an SDP; 0 without one."""
    if not description:
        return 0
    view = sdp.audio(sdp.parse(description))
    return view.port if view is not None else 0


@lru_cache(CACHED)
def direction_of(description: str) -> str:
    """What its author wants to do with the audio; "" without any."""
    view = sdp.audio(sdp.parse(description)) if description else None
    return view.direction if view is not None else ""
