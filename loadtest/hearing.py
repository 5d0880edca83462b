"""What one phone hears: every packet is counted, timed and recognised.

`Ear.packet` runs for every packet of every phone (16,000 a second in the demo), so it takes the
short way: the next sequence number of the known source, a look-up of the frame. All times are
floats in milliseconds of the monotonic clock, as the kernel stamped the packet; the phones' own
scheduling does not count as a gap of the network.
"""

from dataclasses import dataclass

from loadtest.facts import Sound, Window
from loadtest.identity import LAWS, Ears
from rtp.packet import HEADER, HEADER_SIZE, VERSION, BadPacket, payload_span
from rtp.stream import Stream

_UNPACK = HEADER.unpack_from

SOUNDS_MAX = 64
"""Stretches of sound kept per call; later ones only count packets."""
CONFIRM = 2
"""Measured (not looked-up) frames that must agree before the sound is believed to have changed."""
MEASURE_EVERY = 10
"""Of unknown frames, one in so many is measured."""
BUCKETS_MAX = 7_200
"""Seconds of gaps remembered per call: two hours."""

LATE_MS = 30
LATE_MAX = 256
"""Gaps longer than LATE_MS are remembered one by one, so many in a call."""

BEFORE_MS = 10_000
AFTER_MS = 5_000


@dataclass(slots=True)
class Stretch:
    """A sound going on."""

    what: str
    first_ms: float
    last_ms: float
    packets: int


class Ear:
    """One phone listening in one call.

    `packet` answers True when `hears` has changed. `since_ms`: when it began, or ceased, to listen.
    """

    __slots__ = (
        "_bucket_gap",
        "_bucket_ms",
        "_candidate",
        "_candidate_count",
        "_ears",
        "_frame",
        "_skip",
        "_stream",
        "_stretch",
        "began_ms",
        "buckets",
        "gap_at_ms",
        "gap_ms",
        "hears",
        "held_ms",
        "last_ms",
        "late",
        "listening",
        "overflowed",
        "packets",
        "since_ms",
        "stretches",
    )

    def __init__(self, ears: Ears, now_ms: float) -> None:
        self._ears = ears
        self._stream = Stream()
        self._frame = b""
        self._candidate = ""
        self._candidate_count = 0
        self._skip = 0
        self._stretch: Stretch | None = None
        self._bucket_ms = now_ms
        self._bucket_gap = 0.0
        self.began_ms = now_ms
        self.buckets: list[tuple[float, float]] = []
        """(end of the bucket, largest gap that ended in it)."""
        self.stretches: list[Stretch] = []
        self.gap_ms = 0.0
        self.gap_at_ms = 0.0
        self.hears = ""
        self.held_ms = 0.0
        self.last_ms = 0.0
        self.late: list[tuple[int, int]] = []
        """(when it ended, its length): gaps that were the longest yet of their second."""
        self.since_ms = now_ms
        self.listening = True
        self.overflowed = 0
        self.packets = 0

    def packet(self, data: bytes, ms: float) -> bool:
        """One RTP packet that came at `ms`. True when what this phone hears has changed."""
        if len(data) < HEADER_SIZE or data[0] & 0xC0 != VERSION:
            return False
        first, second, seq, timestamp, ssrc = _UNPACK(data)
        if not self._stream.receive(seq, timestamp, ssrc, int(ms)):
            return False
        self.packets += 1
        last = self.last_ms
        if last:
            gap = ms - last
            if gap > self._bucket_gap and self.listening:
                self._bucket_gap = gap
                if gap > LATE_MS and len(self.late) < LATE_MAX:
                    self.late.append((round(ms), round(gap)))
                if gap > self.gap_ms:
                    self.gap_ms = gap
                    self.gap_at_ms = ms
        self.last_ms = ms
        payload = data[HEADER_SIZE:] if first == VERSION else _payload(data)
        if payload == self._frame:
            stretch = self._stretch
            if stretch is not None:
                stretch.last_ms = ms
                stretch.packets += 1
            return False
        return self._new_frame(payload, second & 0x7F, ms)

    def _new_frame(self, payload: bytes, payload_type: int, ms: float) -> bool:
        what = self._ears.known.get(payload)
        if what is not None and what[:1] in ("c", "a"):
            self._frame = payload
            return self._sound(what, ms)
        self._frame = b""
        stretch = self._stretch
        if stretch is not None:
            stretch.last_ms = ms
            stretch.packets += 1
        if payload_type not in LAWS:  # a key (RFC 4733) or comfort noise is no sound of anybody
            return False
        if what is None:
            self._skip -= 1
            if self._skip > 0:
                return False
            what = self._ears.guess(payload, payload_type)
        if what == self.hears:
            self._candidate_count = 0
            self._skip = MEASURE_EVERY
            return False
        self._candidate_count = self._candidate_count + 1 if what == self._candidate else 1
        self._candidate = what
        self._skip = 0
        if self._candidate_count < CONFIRM:
            return False
        if stretch is not None:
            stretch.packets -= 1
        return self._sound(what, ms)

    def _sound(self, what: str, ms: float) -> bool:
        """`what` is heard at `ms`; True when it was not before."""
        self._candidate_count = 0
        self._skip = MEASURE_EVERY
        stretch = self._stretch
        if stretch is not None and stretch.what == what:
            stretch.last_ms = ms
            stretch.packets += 1
            return False
        self.hears = what
        if len(self.stretches) < SOUNDS_MAX:
            self._stretch = Stretch(what, ms, ms, 1)
            self.stretches.append(self._stretch)
        else:
            self._stretch = None
            self.overflowed += 1
        return True

    def sweep(self, now_ms: float) -> None:
        """Close the bucket of gaps: once a second, and at a marked moment."""
        if len(self.buckets) < BUCKETS_MAX:
            self.buckets.append((now_ms, self._bucket_gap))
        self._bucket_gap = 0.0
        self._bucket_ms = now_ms

    def hold(self, now_ms: float) -> None:
        """This phone does not listen any more: silence is no gap now."""
        if self.listening:
            self.listening = False
            self.since_ms = now_ms

    def resume(self, now_ms: float) -> None:
        """This phone listens again; the first packet begins a new measurement."""
        if not self.listening:
            self.listening = True
            self.held_ms += now_ms - self.since_ms
            self.since_ms = now_ms
            self.last_ms = 0.0

    def window(self, mark: str, at_ms: float, now_ms: float, own_late_ms: float) -> Window:
        """The largest gap in the 10 s before `at_ms` and in the 5 s after.

        Buckets are closed at a mark, so a gap that spans it counts after it. Silence that still
        lasts at `now_ms` counts as a gap up to now.
        """
        before = [g for ms, g in self.buckets if at_ms - BEFORE_MS < ms <= at_ms]
        after = [g for ms, g in self.buckets if at_ms < ms <= at_ms + AFTER_MS]
        if self._bucket_ms < at_ms + AFTER_MS:
            after.append(self._bucket_gap)
            if self.listening and self.last_ms:
                after.append(min(now_ms, at_ms + AFTER_MS) - max(self.last_ms, 0.0))
        return Window(
            mark=mark,
            at_ms=round(at_ms),
            before_ms=round(max(before, default=0.0)),
            after_ms=round(max(after, default=0.0)),
            own_late_ms=round(own_late_ms),
        )

    def counted(self) -> tuple[int, int, int]:
        """(missing, duplicates, number of sources) so far."""
        return self._stream.missing, self._stream.duplicates, self._stream.ssrcs

    def sounds(self) -> list[Sound]:
        """The stretches of sound so far, in order."""
        return [
            Sound(
                what=s.what, first_ms=round(s.first_ms), last_ms=round(s.last_ms), packets=s.packets
            )
            for s in self.stretches
        ]


def _payload(data: bytes) -> bytes:
    """The payload behind CSRCs, extension and padding (RFC 3550 §5.1); b"" when malformed."""
    try:
        start, end = payload_span(data, len(data))
    except BadPacket:
        return b""
    return data[start:end]
