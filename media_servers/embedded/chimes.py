"""The two sounds that come with keepline, as arithmetic: a chime to greet, an arpeggio to wait by.

`tests/media_servers/test_chimes.py` holds the files in sounds/ to what this computes. Whoever
listens by machine knows them by their frequencies: a frame is dominated by one of them.
"""

import math
import struct
from collections.abc import Iterable

RATE = 8000
WELCOME = (600.0, 750.0)
MUSIC = (523.25, 659.25, 783.99)

_PEAK = 32767


def welcome() -> bytes:
    """1.5 s: two bell notes, the second rising out of the first. A WAV file."""
    low = _bell(WELCOME[0], 0.74, fall_s=1.2)
    high = _bell(WELCOME[1], 0.76, fall_s=1.2)
    return wav([*low, *high])


def music() -> bytes:
    """7.2 s of a slow arpeggio, quiet, that may be repeated without a click. A WAV file."""
    order = (0, 1, 2, 1, 2, 0, 1, 2, 0, 2, 1, 0)
    return wav(
        sample
        for place, note in enumerate(order)
        for sample in _bell(MUSIC[note], 0.6, fall_s=1.6, level=0.11 if place % 3 else 0.14)
    )


def wav(samples: Iterable[int]) -> bytes:
    """16-bit mono at 8 kHz."""
    data = b"".join(struct.pack("<h", sample) for sample in samples)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


def _bell(frequency: float, seconds: float, *, fall_s: float, level: float = 0.2) -> list[int]:
    """A note that is struck and dies away; silent at both ends, never silent for a whole frame."""
    count = round(seconds * RATE)
    attack, release = round(0.008 * RATE), round(0.012 * RATE)
    out = []
    for n in range(count):
        edge = min(1.0, n / attack, (count - 1 - n) / release)
        fall = math.exp(-n / RATE / fall_s)
        # A touch of the octave makes a bell of it and leaves the note on top.
        wave = math.sin(2 * math.pi * frequency * n / RATE)
        octave = 0.18 * math.sin(4 * math.pi * frequency * n / RATE) * fall
        out.append(round(_PEAK * level * edge * fall * (wave + octave)))
    return out
