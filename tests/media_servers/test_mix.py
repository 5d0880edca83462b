"""Voices summed, recorded beside each other, and sounds in frames."""

import struct

import pytest

from media_servers.embedded import sound
from media_servers.embedded.mix import MAX_HELD, QUIET, Mix, Tap
from media_servers.embedded.players import Loop, Once, Sound
from media_servers.embedded.recording import Recorder, header
from rtp import g711, tone
from rtp.g711 import PCMA, PCMU


def voice(frequency: float, frames: int = 1) -> bytes:
    return g711.encode(tone.sine(frequency, 160 * frames), PCMU)


def test_a_voice_comes_out_as_it_went_in_however_it_was_cut() -> None:
    tap, said = Tap(), voice(400, 4)
    for start in range(0, len(said), 80):
        tap.put(said[start : start + 80], PCMU)

    assert b"".join(tap.take() or b"" for _ in range(4)) == said
    assert tap.take() is None


def test_a_voice_is_held_a_little_against_jitter() -> None:
    tap = Tap()
    tap.put(bytes(160), PCMU)
    assert tap.take() is None
    tap.put(bytes(160), PCMU)
    assert tap.take() is not None


def test_a_voice_that_is_too_fast_is_cut_and_never_held_without_end() -> None:
    tap = Tap()
    for n in range(100):
        tap.put(bytes((n,)) * 160, PCMU)

    frames = [frame for _ in range(100) if (frame := tap.take()) is not None]
    assert len(frames) <= MAX_HELD // 160
    assert frames[-1][0] == 99


@pytest.mark.parametrize("law", [PCMU, PCMA])
def test_a_mix_is_the_sum_and_nobody_waits_for_who_is_silent(law: int) -> None:
    taps = [Tap(), Tap(), Tap()]
    taps[0].put(voice(400, 2), PCMU)
    taps[1].put(voice(1000, 2).translate(g711.INTO[PCMA]), PCMA)
    mix = Mix(taps)

    samples = g711.decode(mix.frame(0, law), law)
    assert tone.power(samples, 400) == pytest.approx(0.5, abs=0.05)
    assert tone.power(samples, 1000) == pytest.approx(0.5, abs=0.05)
    mix.frame(1, law)
    assert mix.frame(2, law) == QUIET[law]


def filled(*frames: bytes) -> Sound:
    made = Sound("x")
    made.fill({PCMU: list(frames), PCMA: [frame.translate(g711.INTO[PCMA]) for frame in frames]})
    return made


def test_a_loop_is_at_the_clocks_place_for_all() -> None:
    loop = Loop(filled(b"a", b"b", b"c"))

    assert [loop.frame(tick, PCMU) for tick in (3, 4, 5, 6)] == [b"a", b"b", b"c", b"a"]


def test_a_playing_ends_once_a_frame_after_its_last() -> None:
    ends: list[int] = []
    once = Once(filled(b"a", b"b"), lambda: ends.append(1))

    frames = [(once.frame(tick, PCMU), len(ends)) for tick in (17, 18, 19, 20)]

    assert frames == [(b"a", 0), (b"b", 0), (None, 1), (None, 1)]


def test_what_follows_a_playing_follows_without_a_gap() -> None:
    ends: list[int] = []
    loop = Loop(filled(b"x", b"y"))
    once = Once(filled(b"a"), lambda: ends.append(1), loop)

    frames = [(once.frame(tick, PCMU), len(ends)) for tick in (17, 18, 19)]

    assert frames == [(b"a", 0), (b"x", 1), (b"y", 1)]


def test_a_sound_that_is_not_ready_is_waited_for_and_one_that_fails_ends() -> None:
    ends: list[int] = []
    late, bad = Sound("late"), Sound("bad")
    one, two = Once(late, lambda: ends.append(1)), Once(bad, lambda: ends.append(2))
    assert (one.frame(1, PCMU), two.frame(1, PCMU), Loop(late).frame(1, PCMU)) == (None,) * 3
    late.fill({PCMU: [b"a"]})
    bad.failed = True

    assert [one.frame(tick, PCMU) for tick in (2, 3)] == [b"a", None]
    assert two.frame(2, PCMU) is None
    assert ends == [1, 2]


def test_both_sides_are_written_beside_each_other() -> None:
    out: list[bytes] = []
    recorder = Recorder(out.append, lambda: None)
    recorder.left.put(voice(400, 3), PCMU)
    recorder.right.put(voice(1000, 2).translate(g711.INTO[PCMA]), PCMA)
    for tick in range(3):
        recorder.beat(tick, 0)

    samples, rate = sound.linear(header(len(b"".join(out))) + b"".join(out))
    assert (len(samples), rate) == (480, 8_000)
    sides = struct.unpack("<960h", b"".join(out))
    assert tone.dominant(sides[0::2], (400.0, 1000.0)) == 400.0
    assert tone.dominant(sides[1:640:2], (400.0, 1000.0)) == 1000.0
    assert set(sides[641::2]) == {0}
