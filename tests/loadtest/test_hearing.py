"""What a phone says it heard: sounds in order, packets missing and doubled, gaps around a fault."""

from collections.abc import Iterable

from loadtest import identity
from loadtest.hearing import Ear
from loadtest.identity import Ears
from rtp import dtmf, g711, tone
from rtp.packet import build

PEOPLE = Ears()
for n in range(20):
    PEOPLE.add(identity.caller(n))
    PEOPLE.add(identity.agent(n))
AGENT = identity.frame(identity.agent(3), g711.PCMU)
MUSIC = [
    g711.encode(tone.sine(523.25, 160, level=0.1, start=160 * n), g711.PCMU) for n in range(400)
]


def listen(
    payloads: Iterable[bytes],
    *,
    ear: Ear | None = None,
    at_ms: float = 1_000,
    seq: int = 100,
    ssrc: int = 7,
) -> Ear:
    """An ear that got these, 20 ms apart."""
    ear = ear or Ear(PEOPLE, at_ms)
    for n, payload in enumerate(payloads):
        ear.packet(build(0, seq + n, 160 * n, ssrc, payload), at_ms + 20 * n)
    return ear


def test_sounds_come_in_order_with_their_first_and_last_moment() -> None:
    ear = listen([*MUSIC[:100], *[AGENT] * 50])
    assert [(s.what, s.first_ms, s.packets) for s in ear.sounds()][-1] == ("a3", 3_000, 50)
    assert [s.what for s in ear.sounds()] == ["music", "a3"]
    assert ear.sounds()[0].last_ms == 2_980
    assert ear.sounds()[1].last_ms == 3_980
    assert ear.hears == "a3"


def test_a_voice_is_noticed_with_its_first_packet() -> None:
    ear = listen(MUSIC[:50])
    assert ear.packet(build(0, 150, 0, 7, AGENT), 2_000)
    assert not ear.packet(build(0, 151, 0, 7, AGENT), 2_020)


def test_keys_are_no_sound() -> None:
    ear = listen([AGENT] * 10)
    for n, payload in enumerate(dtmf.payloads("5")):
        ear.packet(build(101, 110 + n, 1_600, 7, payload), 1_200 + 20 * n)
    listen([AGENT] * 10, ear=ear, at_ms=1_400, seq=117)
    assert [s.what for s in ear.sounds()] == ["a3"]
    assert ear.counted() == (0, 0, 1)


def test_missing_and_doubled_packets_are_counted_and_late_ones_are_neither() -> None:
    ear = Ear(PEOPLE, 0)
    for at, seq in enumerate([1, 2, 4, 3, 5, 5, 8, 9]):
        ear.packet(build(0, seq, 160 * seq, 7, AGENT), 20.0 * at)
    assert ear.counted() == (2, 1, 1)


def test_a_clean_change_of_source_misses_nothing() -> None:
    ear = listen(MUSIC[:20])
    listen([AGENT] * 20, ear=ear, at_ms=1_400, seq=30_000, ssrc=8)
    assert ear.counted() == (0, 0, 2)


def test_gaps_are_told_before_and_after_a_mark() -> None:
    ear = listen([AGENT] * 50)  # up to 1,980
    listen([AGENT] * 50, ear=ear, at_ms=2_025, seq=150)  # a gap of 45, up to 3,005
    ear.sweep(3_010)
    listen([AGENT] * 50, ear=ear, at_ms=3_305, seq=200)  # a gap of 300 over the mark
    window = ear.window("fault", 3_010, 4_300, own_late_ms=2)
    assert (window.before_ms, window.after_ms, window.own_late_ms) == (45, 300, 2)
    assert ear.gap_ms == 300


def test_silence_that_lasts_is_a_gap() -> None:
    ear = listen([AGENT] * 50)
    ear.sweep(2_000)
    assert ear.window("fault", 2_000, 3_000, own_late_ms=0).after_ms == 1_020


def test_whoever_holds_hears_no_gap() -> None:
    ear = listen([AGENT] * 50)
    ear.hold(2_000)
    ear.resume(4_000)
    listen([AGENT] * 5, ear=ear, at_ms=4_020, seq=150)
    assert (ear.gap_ms, ear.held_ms) == (20, 2_000)


def test_what_is_no_rtp_is_not_heard() -> None:
    ear = Ear(PEOPLE, 0)
    for datagram in (b"", b"\x80", bytes(12), b"\x40" + bytes(30), b"OPTIONS sip:x SIP/2.0\r\n"):
        assert not ear.packet(datagram, 1)
    assert ear.packets == 0


def test_headers_with_extension_and_padding_are_read() -> None:
    ear = Ear(PEOPLE, 0)
    plain = build(0, 1, 160, 7, AGENT)
    extended = bytes([plain[0] | 0x30]) + plain[1:12] + b"\xbe\xde\0\1abcd" + AGENT + b"\0\0\3"
    ear.packet(extended, 5)
    assert ear.hears == "a3"
