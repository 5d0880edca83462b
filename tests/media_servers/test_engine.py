"""The engine in a world without sockets: bounds, all or nothing, what a bug takes with it."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from media_servers import verbs
from media_servers.embedded import engine as engines
from media_servers.embedded.clock import Clock
from media_servers.embedded.engine import Engine
from media_servers.embedded.leg import Leg, Line
from media_servers.embedded.players import Sound
from media_servers.embedded.recording import Recorder
from media_servers.verbs import MAX_EVENTS, Digit, Event, PlayEnded, Refused, Session
from rtp import dtmf, packet
from rtp.g711 import PCMA, PCMU
from sip import sdp

OFFER = sdp.offer(address="10.0.0.1", port=4000, session_id=1, version=1)
CALL = Session("c", "main", 1)


@dataclass
class Place:
    """A line to nowhere."""

    port: int
    world: "Nowhere"

    def send(self, data: bytearray | memoryview, to: tuple[str, int]) -> None:
        self.world.sent += 1

    def close(self) -> None:
        self.world.open.remove(self.port)


@dataclass
class Nowhere:
    """A world of counters."""

    open: list[int] = field(default_factory=list)
    legs: dict[int, Leg] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    recorders: int = 0
    sent: int = 0
    left: int = 1_000

    def open_line(self, port: int) -> Line:
        if not self.left or port in self.open:
            raise Refused("no_ports")
        self.left -= 1
        port = port or 30_000 + 2 * self.left
        self.open.append(port)
        return Place(port, self)

    def attach(self, line: Line, leg: Leg) -> None:
        self.legs[line.port] = leg

    def find_sound(self, name: str) -> Sound | None:
        if name != "music":
            return None
        sound = Sound(name)
        sound.fill({PCMU: [bytes(160)] * 3, PCMA: [bytes(160)] * 3})
        return sound

    def open_recording(self, name: str) -> Recorder:
        if name == "/":
            raise Refused("no_file")
        self.recorders += 1
        return Recorder(lambda data: None, self.closed)

    def closed(self) -> None:
        self.recorders -= 1

    def draw(self) -> int:
        return 1

    def emit(self, shard: str, event: Event) -> None:
        self.events.append(event)


def made() -> tuple[Engine, Nowhere, Clock]:
    world, clock = Nowhere(), Clock(0, lambda what, error: None)
    return Engine(world, "10.9.9.9", clock), world, clock


def press(world: Nowhere, port: int, n: int, *, now_ms: int = 0, end: bool = True) -> None:
    """The phone at `port` sends its nth digit."""
    payload = dtmf.payloads("1")[-1 if end else 0]
    data = bytearray(packet.build(101, n, n * 1_000, 1, payload))
    world.legs[port].receive(data, memoryview(data), len(data), ("10.0.0.1", 4000), now_ms)


def test_sessions_are_bounded_and_those_that_are_there_may_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "MAX_SESSIONS", 3)
    engine, _, _ = made()
    for n in range(3):
        engine.apply(Session(f"c{n}", "main", 1), 0)

    with pytest.raises(Refused, match="overload"):
        engine.apply(Session("c3", "main", 1), 0)
    assert engine.apply(Session("c2", "main", 1, 5), 0).counter == 5
    engine.delete("main", 1, "c0")
    engine.apply(Session("c3", "main", 1), 0)


def test_an_overloaded_server_takes_no_new_sessions_only() -> None:
    engine, _, _ = made()
    engine.apply(CALL, 0)
    engine.overloaded = True

    with pytest.raises(Refused, match="overload"):
        engine.apply(Session("d", "main", 1), 0)
    engine.apply(verbs.answer(CALL, "a", OFFER), 0)


def test_what_is_refused_half_way_gives_back_what_it_took() -> None:
    engine, world, _ = made()
    session = verbs.record(verbs.answer(CALL, "a", OFFER), "c")
    for wanted in (
        verbs.answer(session, "b", "no sdp"),
        verbs.record(session, "/"),
        verbs.play(session, "a", "none", loop=True, play=1),
    ):
        with pytest.raises(Refused):
            engine.apply(wanted, 0)
    world.left = 1
    with pytest.raises(Refused, match="no_ports"):
        engine.apply(verbs.offer(session, "b"), 0)

    assert (world.open, world.recorders, engine.sessions) == ([], 0, 0)


def test_a_deleted_session_leaves_nothing_behind() -> None:
    engine, world, clock = made()
    session = verbs.record(verbs.answer(CALL, "a", OFFER), "c")
    session = verbs.play(session, "a", "music", loop=True, play=1)
    engine.apply(session, 0)
    assert clock.next_ns() is not None

    engine.delete("main", 1, "c")
    engine.delete("main", 1, "c")

    assert (world.open, world.recorders, clock.next_ns()) == ([], 0, None)


def test_a_prompt_ends_once_also_for_two_who_hear_it() -> None:
    engine, world, clock = made()
    session = verbs.answer(verbs.answer(CALL, "a", OFFER), "b", OFFER)
    session = verbs.play(session, "a", "music", loop=False, play=4)
    session = verbs.play(session, "b", "music", loop=False, play=4)
    engine.apply(session, 0)
    for now_ms in range(0, 400, 2):
        clock.run(now_ms * 1_000_000)
        engine.apply(replace(session, counter=session.counter + now_ms), now_ms)

    assert world.events == [PlayEnded("c", 1, 4)]


def test_events_are_numbered_on_from_what_was_seen() -> None:
    engine, world, _ = made()
    session = replace(verbs.answer(CALL, "a", OFFER), seen=17)
    press(world, engine.apply(session, 0).ports["a"], 1)

    assert world.events == [Digit("c", 18, "a", "1")]


def test_unacknowledged_events_are_bounded_and_digits_are_forgotten_first() -> None:
    engine, world, clock = made()
    session = verbs.play(verbs.answer(CALL, "a", OFFER), "a", "music", loop=False, play=4)
    port = engine.apply(session, 0).ports["a"]
    for now_ms in range(0, 200, 2):
        clock.run(now_ms * 1_000_000)
    for n in range(1, MAX_EVENTS + 10):
        press(world, port, n)

    pending = list(engine.pending("main"))
    assert len(pending) == MAX_EVENTS
    assert pending[0] == PlayEnded("c", 1, 4)
    assert pending[-1].n == MAX_EVENTS + 10

    engine.apply(replace(session, counter=session.counter + 1, seen=pending[-2].n), 0)
    assert list(engine.pending("main")) == pending[-1:]


def test_a_digit_without_an_end_is_told_after_a_while() -> None:
    engine, world, _ = made()
    port = engine.apply(verbs.answer(CALL, "a", OFFER), 0).ports["a"]
    press(world, port, 1, now_ms=1_000, end=False)
    for now_ms in (1_100, 1_200, 1_300, 1_400):
        engine.expire(now_ms)

    assert world.events == [Digit("c", 1, "a", "1")]


def test_a_discarded_session_is_made_anew_by_the_next_apply() -> None:
    engine, world, _ = made()
    session = verbs.answer(CALL, "a", OFFER)
    first = engine.apply(session, 0)
    engine.discard("main", "c")
    assert world.open == []

    assert engine.apply(verbs.settled(session, first), 0) == first


def test_an_apply_that_changes_nothing_heard_disturbs_no_mix() -> None:
    engine, world, _ = made()
    session = CALL
    for name in ("a", "b", "c"):
        session = verbs.answer(session, name, OFFER)
    session = verbs.mix(session, "a", "b", "c")
    legs = {name: world.legs[port] for name, port in engine.apply(session, 0).ports.items()}
    before = {name: (leg.timed, leg.taps) for name, leg in legs.items()}

    engine.apply(verbs.record(session, "c"), 0)
    engine.apply(verbs.record(verbs.record(session, "c"), ""), 0)

    assert {name: (leg.timed, leg.taps) for name, leg in legs.items()} == before
    assert world.recorders == 0
