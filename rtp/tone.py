"""Tones, to be told apart by ear or by Goertzel: what a simulated phone says and how it knows whom
it hears."""

import math
from collections.abc import Sequence

from rtp import g711
from rtp.packet import FRAME_SAMPLES

RATE = 8000

HEARD = 0.25
"""A frequency is dominant if it carries at least this part of the power."""


def sine(frequency: float, samples: int, *, level: float = 0.25, start: int = 0) -> list[int]:
    """`samples` samples of a sine at 8 kHz; `level` 1.0 is full scale; `start` continues one."""
    step, peak = 2 * math.pi * frequency / RATE, level * 32767
    return [round(peak * math.sin(step * n)) for n in range(start, start + samples)]


def frames(frequency: float, law: int, *, level: float = 0.25) -> list[bytes]:
    """20 ms frames that may be repeated without a click: as many as hold whole periods.

    At most one second; a frequency of whole hertz fits exactly.
    """
    count = next(
        (n for n in range(1, 50) if (frequency * n * FRAME_SAMPLES / RATE).is_integer()), 50
    )
    payload = g711.encode(sine(frequency, count * FRAME_SAMPLES, level=level), law)
    return [payload[n : n + FRAME_SAMPLES] for n in range(0, count * FRAME_SAMPLES, FRAME_SAMPLES)]


def power(samples: Sequence[int], frequency: float) -> float:
    """The part, 0 to 1, of the samples' power that `frequency` carries (Goertzel)."""
    total = sum(sample * sample for sample in samples)
    if not total:
        return 0.0
    coefficient = 2 * math.cos(2 * math.pi * frequency / RATE)
    one = two = 0.0
    for sample in samples:
        one, two = sample + coefficient * one - two, one
    return (one * one + two * two - coefficient * one * two) * 2 / (len(samples) * total)


def dominant(samples: Sequence[int], candidates: Sequence[float]) -> float | None:
    """The candidate that carries most of the power, if it carries enough to be heard as a tone."""
    if not samples or not candidates:
        return None
    share, frequency = max((power(samples, one), one) for one in candidates)
    return frequency if share >= HEARD else None
