"""Tones are told apart, also after G.711 and among one another."""

from itertools import pairwise

import pytest

from rtp import g711, tone


@pytest.mark.parametrize("law", [g711.PCMU, g711.PCMA])
@pytest.mark.parametrize("frequency", [400.0, 523.25, 600.0, 1000.0, 2000.0])
def test_a_tone_is_recognised_in_its_frames(frequency: float, law: int) -> None:
    frames = tone.frames(frequency, law)
    samples = g711.decode(b"".join(frames[:8]), law)

    assert {len(frame) for frame in frames} == {160}
    assert tone.dominant(samples, (400.0, 523.25, 600.0, 1000.0, 2000.0)) == frequency


def test_repeated_frames_are_one_tone_without_a_click() -> None:
    frames = tone.frames(1010, g711.PCMU)  # does not fit into one frame

    samples = g711.decode(b"".join(frames * 2), g711.PCMU)

    steps = [abs(b - a) for a, b in pairwise(samples)]
    assert max(steps) < 8_191 * 2 * 3.1416 * 1010 / 8000 * 1.2


def test_two_voices_each_carry_half() -> None:
    samples = [a + b for a, b in zip(tone.sine(400, 1600), tone.sine(1000, 1600), strict=True)]

    assert tone.power(samples, 400) == pytest.approx(0.5, abs=0.02)
    assert tone.power(samples, 1500) < 0.01


def test_silence_and_noise_have_no_dominant_tone() -> None:
    noise = [(n * 7919 % 1009 - 504) * 8 for n in range(1600)]

    assert tone.dominant([0] * 160, (400.0, 1000.0)) is None
    assert tone.dominant([], (400.0,)) is None
    assert tone.dominant(noise, (400.0, 1000.0)) is None
