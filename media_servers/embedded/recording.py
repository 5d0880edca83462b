"""A call's recording: stereo, 8 kHz, 16 bit; left what the first leg says, right what it hears.

So prompts, music and every agent are in it, whichever came when; a supervisor who whispers to the
agent is not.
"""

import struct
from collections.abc import Callable

from media_servers.embedded.mix import QUIET, Tap
from rtp.g711 import PCMU, pcm16
from rtp.packet import FRAME_SAMPLES

HEADER_SIZE = 44
_FRAME = 4 * FRAME_SAMPLES


def header(data_bytes: int) -> bytes:
    """The WAV header of a recording that holds so many bytes of samples."""
    data_bytes = min(data_bytes, 0xFFFFFFFF - HEADER_SIZE)
    return (
        struct.pack("<4sI4s", b"RIFF", data_bytes + HEADER_SIZE - 8, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 8000, 8000 * 4, 4, 16)
        + struct.pack("<4sI", b"data", data_bytes)
    )


class Recorder:
    """Joins both sides in rounds of 20 ms and hands them to `write`."""

    __slots__ = ("_write", "close", "left", "right")

    def __init__(self, write: Callable[[bytes], None], close: Callable[[], None]) -> None:
        self.left = Tap()
        self.right = Tap()
        self._write = write
        self.close = close

    def beat(self, tick: int, now_ms: int) -> None:
        """One frame of both sides; silence where there is none."""
        frame = bytearray(_FRAME)
        left = pcm16(self.left.take() or QUIET[PCMU], PCMU)
        right = pcm16(self.right.take() or QUIET[PCMU], PCMU)
        frame[0::4], frame[1::4] = left[0::2], left[1::2]
        frame[2::4], frame[3::4] = right[0::2], right[1::2]
        self._write(bytes(frame))
