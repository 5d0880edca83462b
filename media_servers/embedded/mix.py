"""Several voices as one: a small buffer for each, a sum in each round of 20 ms.

A voice that is not there is silence; nobody waits for anybody.
"""

from collections.abc import Sequence
from typing import Protocol

from rtp.g711 import INTO, PCMU, SILENCE, decode, encode
from rtp.packet import FRAME_SAMPLES

PREFILL = 2 * FRAME_SAMPLES
"""A voice is heard once so much of it is held: 40 ms against jitter."""

MAX_HELD = 6 * FRAME_SAMPLES
"""More than 120 ms: the sender's clock is ahead of ours, the oldest is dropped."""

QUIET: dict[int, bytes] = {law: bytes((byte,)) * FRAME_SAMPLES for law, byte in SILENCE.items()}
"""A frame of silence."""


class Tap:
    """Takes a voice as it comes, in packets of any length, and gives it in frames (PCMU)."""

    __slots__ = ("_flows", "_held")

    def __init__(self) -> None:
        self._held = bytearray()
        self._flows = False

    def put(self, payload: bytes | bytearray, law: int) -> None:
        """Take a payload of either law."""
        held = self._held
        held += payload if law == PCMU else payload.translate(INTO[PCMU])
        if len(held) > MAX_HELD:
            del held[: len(held) - PREFILL]

    def take(self) -> bytes | None:
        """The next frame; None if there is none now."""
        held = self._held
        if len(held) < (FRAME_SAMPLES if self._flows else PREFILL):
            self._flows = False
            return None
        self._flows = True
        frame = bytes(held[:FRAME_SAMPLES])
        del held[:FRAME_SAMPLES]
        return frame


class Voice(Protocol):
    """A sound among the voices."""

    def frame(self, tick: int, law: int) -> bytes | None: ...


class Mix:
    """What one leg hears of several: never itself, each of them once."""

    __slots__ = ("_taps", "_voices")

    def __init__(self, taps: Sequence[Tap], voices: Sequence[Voice] = ()) -> None:
        self._taps = tuple(taps)
        self._voices = tuple(voices)

    def frame(self, tick: int, law: int) -> bytes:
        """The next frame of the sum."""
        frames = [frame for tap in self._taps if (frame := tap.take()) is not None]
        frames += [
            frame for voice in self._voices if (frame := voice.frame(tick, PCMU)) is not None
        ]
        if not frames:
            return QUIET[law]
        if len(frames) == 1:
            return frames[0] if law == PCMU else frames[0].translate(INTO[law])
        return encode(map(sum, zip(*(decode(frame, PCMU) for frame in frames), strict=True)), law)
