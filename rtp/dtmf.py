"""Digits as RFC 4733 telephone events: what to send for one, and what was received.

One digit is reported once, however many of its packets come, come twice or come late; also when
all three of its end packets were lost.
"""

import struct

EVENTS = "0123456789*#ABCD"
"""Digit by event code (RFC 4733 §3.2)."""

UPDATE_MS = 20
END_REPEATS = 3
"""The end of an event is sent three times (RFC 4733 §2.5.1.4)."""

SILENT_MS = 200
"""An event that is neither continued nor ended for so long has ended (RFC 4733 §2.5.2.2)."""

_PAYLOAD = struct.Struct(">BBH")
_END = 0x80
_REMEMBERED = 4


def payloads(digit: str, *, duration_ms: int = 100, volume: int = 10) -> list[bytes]:
    """The payloads of one digit, 20 ms apart; all bear the timestamp of the first.

    The first is to bear the marker. The last three say that it ended. Units: `volume` in -dBm0.
    """
    code = EVENTS.index(digit)
    updates = max(1, duration_ms // UPDATE_MS)
    going = [_PAYLOAD.pack(code, volume, 8 * UPDATE_MS * n) for n in range(1, updates)]
    return going + [_PAYLOAD.pack(code, volume | _END, 8 * UPDATE_MS * updates)] * END_REPEATS


class Receiver:
    """Digits out of the telephone events of one sender."""

    __slots__ = ("_done", "_heard_ms", "_open")

    def __init__(self) -> None:
        self._open: tuple[int, str] | None = None
        self._heard_ms = 0
        self._done: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """A digit began and has not ended: `expired` is worth asking."""
        return self._open is not None

    def receive(self, timestamp: int, payload: bytes | bytearray, now_ms: int) -> str:
        """The digits, mostly none, that this packet shows to be complete."""
        if len(payload) < _PAYLOAD.size or payload[0] >= len(EVENTS):
            return ""
        if timestamp in self._done:
            return ""
        digits = ""
        if self._open is not None and self._open[0] != timestamp:
            digits = self._close()  # its end was lost: the next one has begun
        self._open = (timestamp, EVENTS[payload[0]])
        self._heard_ms = now_ms
        if payload[1] & _END:
            digits += self._close()
        return digits

    def expired(self, now_ms: int) -> str:
        """The digit whose packets stopped coming without an end."""
        if self._open is None or now_ms - self._heard_ms < SILENT_MS:
            return ""
        return self._close()

    def _close(self) -> str:
        if self._open is None:
            return ""
        timestamp, digit = self._open
        self._open = None
        self._done = (*self._done[1 - _REMEMBERED :], timestamp)
        return digit
