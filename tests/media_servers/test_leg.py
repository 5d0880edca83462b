"""A leg without sockets: its numbers toward the phone, what it accepts, what it follows."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from media_servers.embedded.leg import LATCH_MS, Leg
from media_servers.embedded.negotiation import EVENT, UNKNOWN, Media
from media_servers.embedded.players import Loop, Sound
from rtp import dtmf, packet
from rtp.g711 import INTO, PCMA, PCMU
from rtp.stream import Stream

A, B, THIRD = ("10.0.0.1", 4000), ("10.0.0.2", 4000), ("10.6.6.6", 666)


@dataclass
class Wire:
    """A line that keeps what is sent."""

    port: int = 30_000
    sent: list[tuple[packet.Packet, tuple[str, int]]] = field(default_factory=list)
    full: bool = False

    def send(self, data: bytearray | memoryview, to: tuple[str, int]) -> None:
        if self.full:
            raise BlockingIOError
        self.sent.append((packet.parse(bytes(data)), to))

    def close(self) -> None:
        """Nothing to give back."""


def kinds(event: int = 101) -> tuple[int, ...]:
    out = [UNKNOWN] * 128
    out[0], out[8], out[event] = PCMU, PCMA, EVENT
    return tuple(out)


def media(address: tuple[str, int] | None, law: int = PCMU, event: int = 101) -> Media:
    return Media(
        address=address,
        sends=address is not None,
        receives=True,
        law=law,
        payload_type=law,
        event_type=event,
        kinds=kinds(),
    )


class Pair:
    """Phone A's leg and phone B's, which hears A."""

    def __init__(self, law: int = PCMU, event: int = 101) -> None:
        self.digits = ""
        self.numbers = iter(range(100, 10_000, 100))
        self.wire_a, self.wire_b = Wire(), Wire()
        self.a = Leg("a", self.wire_a, self.draw, self.dialled)
        self.b = Leg("b", self.wire_b, self.draw, self.dialled)
        self.a.point(media(A))
        self.b.point(media(B, law, event))
        self.a.sinks = (self.b,)
        self.now_ms = 1_000
        self.data = bytearray(2_048)

    def draw(self) -> int:
        return next(self.numbers)

    def dialled(self, leg: Leg, digits: str) -> None:
        self.digits += digits

    def say(
        self,
        seq: int,
        payload: bytes = b"\x12" * 160,
        *,
        pt: int = 0,
        ssrc: int = 9,
        timestamp: int | None = None,
        source: tuple[str, int] = A,
        after_ms: int = 20,
    ) -> None:
        """A packet of A's."""
        self.now_ms += after_ms
        at = seq * 160 if timestamp is None else timestamp
        self.receive(packet.build(pt, seq, at, ssrc, payload), source)

    def receive(self, datagram: bytes, source: tuple[str, int] = A) -> None:
        self.data[: len(datagram)] = datagram
        self.a.receive(self.data, memoryview(self.data), len(datagram), source, self.now_ms)

    @property
    def heard(self) -> list[packet.Packet]:
        """What phone B was sent."""
        return [got for got, _ in self.wire_b.sent]


def test_we_are_one_source_toward_a_phone_whoever_it_hears() -> None:
    pair = Pair()
    for seq in (500, 501):
        pair.say(seq)
    for seq in (9, 10):
        pair.say(seq, ssrc=77)

    assert len({got.ssrc for got in pair.heard}) == 1
    assert 9 not in {got.ssrc for got in pair.heard}
    first = pair.heard[0].seq
    assert [got.seq for got in pair.heard] == [first, first + 1, first + 2, first + 3]
    assert [got.marker for got in pair.heard] == [True, False, True, False]
    steps = [b.timestamp - a.timestamp for a, b in zip(pair.heard, pair.heard[1:], strict=False)]
    assert steps == [160, 160, 160]


@given(st.lists(st.integers(1, 90), max_size=90, unique=True))
def test_what_was_lost_or_late_before_us_is_lost_or_late_behind_us(arriving: list[int]) -> None:
    pair = Pair()
    before = Stream()
    for seq in (0, *arriving):
        pair.say(65_500 + seq)
        before.receive((65_500 + seq) & 0xFFFF, 0, 9, 0)

    behind = Stream()
    for got in pair.heard:
        behind.receive(got.seq, 0, got.ssrc, 0)
    assert (behind.packets, behind.missing) == (before.packets, before.missing)


def test_what_comes_late_from_before_its_source_was_heard_takes_no_number() -> None:
    pair = Pair()
    pair.say(1, ssrc=5)
    for seq in (11, 10, 12):
        pair.say(seq, ssrc=6)

    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 1, 2]


def test_a_doubled_packet_is_sent_on_once() -> None:
    pair = Pair()
    for seq in (1, 2, 2, 3, 1):
        pair.say(seq)

    assert len(pair.heard) == 3


def test_a_source_that_jumps_far_starts_anew_and_nothing_is_missing() -> None:
    pair = Pair()
    for seq in (10, 11, 30_000, 30_001):
        pair.say(seq)

    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 1, 2, 3]


def test_a_pause_is_time_and_no_loss() -> None:
    pair = Pair()
    pair.say(1)
    pair.b.restart()  # music was heard for a second, elsewhere than here
    pair.say(700, ssrc=5, after_ms=1_000)

    one, two = pair.heard
    assert two.seq - one.seq == 1
    assert two.timestamp - one.timestamp == 8_000


def test_a_sound_and_a_voice_are_one_row_of_numbers() -> None:
    pair = Pair()
    sound = Sound("x")
    sound.fill({PCMU: [b"\x01" * 160], PCMA: [b"\x02" * 160]})
    pair.b.timed = Loop(sound)
    for tick in range(3):
        pair.now_ms += 20
        pair.b.beat(tick, pair.now_ms)
    pair.b.timed = None
    pair.b.restart()
    for seq in (50, 51):
        pair.say(seq)

    first = pair.heard[0]
    assert [got.seq - first.seq for got in pair.heard] == [0, 1, 2, 3, 4]
    assert [got.timestamp - first.timestamp for got in pair.heard] == [0, 160, 320, 480, 640]
    assert [got.marker for got in pair.heard] == [True, False, False, True, False]
    assert pair.heard[0].payload == b"\x01" * 160


@pytest.mark.parametrize(("said", "law"), [(PCMU, PCMA), (PCMA, PCMU)])
def test_the_law_is_translated_and_the_type_is_the_phones(said: int, law: int) -> None:
    pair = Pair(law)
    voice = bytes(range(160))
    pair.say(1, voice, pt=said)

    assert pair.heard[0].payload == voice.translate(INTO[law])
    assert pair.heard[0].payload_type == law


def test_digits_keep_their_timestamp_and_get_the_phones_type() -> None:
    pair = Pair(event=97)
    pair.say(1)
    for n, payload in enumerate(dtmf.payloads("4")):
        pair.say(2 + n, payload, pt=101, timestamp=320)

    events = [got for got in pair.heard if got.payload_type == 97]
    assert pair.digits == "4"
    assert [got.payload for got in events] == dtmf.payloads("4")
    assert len({got.timestamp for got in events}) == 1


def test_digits_that_a_phone_cannot_take_are_told_and_not_missed() -> None:
    pair = Pair(event=-1)
    pair.say(1)
    for n, payload in enumerate(dtmf.payloads("4")):
        pair.say(2 + n, payload, pt=101, timestamp=320)
    pair.say(2 + len(dtmf.payloads("4")))

    assert pair.digits == "4"
    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 1]


def test_what_surrounds_the_payload_is_not_sent_on() -> None:
    pair = Pair()
    pair.receive(bytes.fromhex("b1 00 0001 000000a0 00000009 00000007 abcd 0000 1122 00 02"))

    assert pair.heard[0].payload == b"\x11\x22"


# --- whom it follows ---


def test_the_first_to_send_is_the_phone_and_is_sent_to() -> None:
    pair = Pair()
    pair.say(1, source=THIRD)
    pair.b.sinks = (pair.a,)
    assert len(pair.heard) == 1
    sound = Sound("x")
    sound.fill({PCMU: [bytes(160)], PCMA: [bytes(160)]})
    pair.a.timed = Loop(sound)
    pair.a.beat(0, pair.now_ms)

    assert pair.wire_a.sent[0][1] == THIRD


def test_a_third_is_ignored_while_the_phone_is_heard_and_heeded_when_it_is_gone() -> None:
    pair = Pair()
    pair.say(1, source=A)
    pair.say(100, source=THIRD, ssrc=3)
    assert len(pair.heard) == 1
    assert pair.a.junk == 1

    pair.say(101, source=THIRD, ssrc=3, after_ms=LATCH_MS)
    assert len(pair.heard) == 2
    pair.say(2, source=A)  # what the SDP names needs no patience
    pair.say(102, source=THIRD, ssrc=3)
    assert len(pair.heard) == 3


def test_after_a_move_the_old_place_is_not_followed() -> None:
    pair = Pair()
    pair.say(1, source=A)
    pair.a.point(media(THIRD))
    pair.say(2, source=A)
    assert len(pair.heard) == 1

    pair.say(3, source=("10.0.0.99", 5), ssrc=8)  # the new place, behind a NAT
    pair.say(4, source=A)
    assert len(pair.heard) == 2


def test_a_hold_by_address_forgets_no_place() -> None:
    pair = Pair()
    pair.say(1, source=THIRD)
    pair.a.point(replace(media(None), sends=False))
    assert not pair.a.is_sending
    pair.a.point(media(A))
    pair.say(2, source=THIRD)

    assert len(pair.heard) == 2


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x80",
        bytes(172),
        b"\x80\x7f" + bytes(170),  # a payload type that was not agreed on
        b"\x80\xc8" + bytes(26),  # RTCP
        b"\x8f\x00" + bytes(20),
        b"\x80\x00" + bytes(1_600),
    ],
)
def test_junk_is_counted_and_nothing_else(datagram: bytes) -> None:
    pair = Pair()
    pair.say(1)
    pair.receive(datagram)
    pair.say(2)

    assert pair.a.junk == 1
    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 1]


@given(st.binary(max_size=200), st.sampled_from([A, THIRD]))
def test_no_datagram_raises(datagram: bytes, source: tuple[str, int]) -> None:
    pair = Pair(PCMA)
    pair.receive(datagram, source)
    pair.receive(b"\x80\x00" + datagram, source)
    pair.receive(b"\xb0\x65" + datagram, source)


def test_a_full_socket_loses_a_packet_and_not_the_call() -> None:
    pair = Pair()
    pair.say(1)
    pair.wire_b.full = True
    pair.say(2)
    pair.wire_b.full = False
    pair.say(3)

    assert pair.b.unsent == 1
    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 2]


def test_time_on_hold_is_no_loss_to_the_phone_that_held() -> None:
    pair = Pair()
    pair.say(1)
    pair.b.point(replace(media(B), sends=False))
    for seq in range(2, 50):
        pair.say(seq)
    pair.b.point(media(B))
    pair.say(50)

    assert [got.seq - pair.heard[0].seq for got in pair.heard] == [0, 1]
    assert pair.heard[1].timestamp - pair.heard[0].timestamp == 49 * 160
