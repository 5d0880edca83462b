"""Whose voice is it: every simulated person sounds like himself and like nobody else.

A person's voice is four sines added, one from each of four bands, all multiples of 50 Hz. A frame
of 20 ms then holds whole periods of each: every frame of a person is the same 160 bytes, and *any
single frame* tells who speaks, after a relay (the very bytes) and after G.711 transcoding (the
bytes are predictable, and the sines measurable). The first and loudest sine tells callers
(300-450 Hz) from agents (900-1150 Hz); the other three are digits of his number. Prompt and music
of the media servers (600/750 Hz; 523.25/659.25/783.99 Hz) lie between these.
"""

from dataclasses import dataclass
from enum import Enum
from math import cos, hypot, pi
from operator import mul

from rtp import g711
from rtp.packet import FRAME_SAMPLES
from rtp.tone import RATE


class Kind(Enum):
    """What a person is; the value begins his name."""

    CALLER = "c"
    AGENT = "a"


CALLER_HZ = (300, 350, 400, 450)
AGENT_HZ = (900, 950, 1_000, 1_050, 1_100, 1_150)
DIGIT_HZ = (
    tuple(range(1_300, 2_100, 50)),
    tuple(range(2_200, 3_000, 50)),
    (3_100, 3_200, 3_300, 3_400),
)
PROMPT_HZ = (600.0, 750.0)
MUSIC_HZ = (523.25, 659.25, 783.99)

CALLERS_MAX = 4_096
"""Voices of callers; call number 4,096 speaks like number 0."""
AGENTS_MAX = 6_144

LOUD = 8_000
SOFT = 2_500
"""Amplitudes of the first sine and of a digit: their sum stays below 15,500 of 32,767."""

SILENCE = 100
"""A frame whose every amplitude is lower is "silence"."""

LAWS = (g711.PCMU, g711.PCMA)
CACHE_MAX = 20_000
"""Known frames; beyond it the guesses are forgotten, the people's frames stay."""


@dataclass(frozen=True)
class Voice:
    """Who speaks. `number` below CALLERS_MAX or AGENTS_MAX."""

    kind: Kind
    number: int

    @property
    def name(self) -> str:
        """As logs write it: "c17", "a3"."""
        return f"{self.kind.value}{self.number}"


def caller(number: int) -> Voice:
    """The voice of the call with this number in the run."""
    return Voice(Kind.CALLER, number % CALLERS_MAX)


def agent(number: int) -> Voice:
    """The voice of the agent with this place in the list."""
    return Voice(Kind.AGENT, number % AGENTS_MAX)


def tones(voice: Voice) -> tuple[int, ...]:
    """The four frequencies of a voice, loudest first."""
    firsts = CALLER_HZ if voice.kind is Kind.CALLER else AGENT_HZ
    number, first = divmod(voice.number, len(firsts))
    chosen = [firsts[first]]
    for band in DIGIT_HZ:
        number, digit = divmod(number, len(band))
        chosen.append(band[digit])
    return tuple(chosen)


def _wave(hz: float) -> list[float]:
    return [cos(2 * pi * hz * n / RATE) for n in range(FRAME_SAMPLES)]


def _quarter_later(hz: float) -> list[float]:
    return [cos(2 * pi * hz * n / RATE - pi / 2) for n in range(FRAME_SAMPLES)]


_ALL_HZ: tuple[float, ...] = (
    *CALLER_HZ,
    *AGENT_HZ,
    *PROMPT_HZ,
    *MUSIC_HZ,
    *(hz for band in DIGIT_HZ for hz in band),
)
_WAVES = {hz: (_wave(hz), _quarter_later(hz)) for hz in _ALL_HZ}


def frame(voice: Voice, law: int) -> bytes:
    """The 20 ms that this voice repeats, in PCMU or PCMA."""
    sines = zip(*(_WAVES[hz][0] for hz in tones(voice)), strict=True)
    return g711.encode([round(LOUD * a + SOFT * (b + c + d)) for a, b, c, d in sines], law)


def amplitude(samples: list[int], hz: float) -> float:
    """How strong `hz` (one of those named above) is in a frame of 160 samples."""
    real, imaginary = _WAVES[hz]
    x = sum(map(mul, samples, real))
    y = sum(map(mul, samples, imaginary))
    return 2 * hypot(x, y) / FRAME_SAMPLES


def guess(payload: bytes, law: int) -> str:
    """What an unknown frame sounds like: a voice's name, "prompt", "music", "silence",
    "several" (a caller and an agent at once), or "unknown". Takes about a millisecond.
    """
    if len(payload) != FRAME_SAMPLES:
        return "unknown"
    samples = g711.decode(payload, law)
    levels = {hz: amplitude(samples, hz) for hz in _ALL_HZ[:15]}
    top = max(levels.values())
    if top < SILENCE:
        return "silence"
    callers = max(levels[hz] for hz in CALLER_HZ)
    agents = max(levels[hz] for hz in AGENT_HZ)
    if min(callers, agents) > top / 3:
        return "several"
    if top == callers:
        return _spelled(Kind.CALLER, CALLER_HZ, samples, levels)
    if top == agents:
        return _spelled(Kind.AGENT, AGENT_HZ, samples, levels)
    return "prompt" if top in (levels[PROMPT_HZ[0]], levels[PROMPT_HZ[1]]) else "music"


def _spelled(
    kind: Kind, firsts: tuple[int, ...], samples: list[int], levels: dict[float, float]
) -> str:
    """The name that the digits spell, or "unknown" when one is not clear."""
    place, number = 1, 0
    for band in (firsts, *DIGIT_HZ):
        strength = [levels[hz] if hz in levels else amplitude(samples, hz) for hz in band]
        best = max(range(len(band)), key=strength.__getitem__)
        others = max(value for digit, value in enumerate(strength) if digit != best)
        if strength[best] < 2 * others or strength[best] < SILENCE:
            return "unknown"
        number += place * best
        place *= len(band)
    return Voice(kind, number).name


class Ears:
    """Recognises frames: those of the people it was told of at once, others by measuring.

    All phones of a process share one: what all listeners of a music hear is measured once.
    """

    def __init__(self) -> None:
        self._people: dict[bytes, str] = {}
        self._voices: set[str] = set()
        self._guessed: dict[bytes, str] = {}
        self.known: dict[bytes, str] = {}
        """Look up here first: frame → name."""
        self.guesses = 0

    def add(self, voice: Voice) -> None:
        """Know this voice as it is sent, and as it is after one or two transcodings."""
        if voice.name in self._voices:
            return
        self._voices.add(voice.name)
        for law in LAWS:
            other = g711.PCMA if law == g711.PCMU else g711.PCMU
            sent = frame(voice, law)
            once = sent.translate(g711.INTO[other])
            for payload in (sent, once, once.translate(g711.INTO[law])):
                self._people[payload] = self.known[payload] = voice.name

    def guess(self, payload: bytes, law: int) -> str:
        """Measure an unknown frame and remember it."""
        if len(self._guessed) >= CACHE_MAX:
            self._guessed.clear()
            self.known.clear()
            self.known.update(self._people)
        name = self._guessed[payload] = self.known[payload] = guess(payload, law)
        self.guesses += 1
        return name
