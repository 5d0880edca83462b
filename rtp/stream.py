"""What a receiver can say of the RTP it heard: packets, missing, doubled, gaps, jitter.

Missing is counted for each SSRC from its first to its highest sequence number (RFC 3550 §A.3),
so a clean change of source loses nothing and a late packet is not lost.
"""

LATE_MS = 30
"""A gap between packets longer than this is remembered with its time."""

MAX_LATE = 4096
"""So many gaps are remembered; after that only the largest is kept up."""

MAX_DROPOUT = 3000
"""A jump of the sequence number by more is a new start, not a loss (RFC 3550 §A.1)."""

MAX_MISORDER = 100
"""A packet further behind is a new start too, and not one that comes late (RFC 3550 §A.1)."""

_WINDOW = 64
_MASK = (1 << _WINDOW) - 1


class Stream:
    """Measures what arrives at one place. Times are milliseconds; jitter is in 1/8 ms (8 kHz)."""

    __slots__ = (
        "_at_ms", "_expected", "_first", "_highest", "_jitter16", "_seen", "_transit",
        "duplicates", "largest_gap_ms", "late", "packets", "ssrc", "ssrcs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.packets = 0
        """Packets without the doubled ones."""
        self.duplicates = 0
        self.largest_gap_ms = 0
        self.late: list[tuple[int, int]] = []
        """(when it ended, its length) of each gap longer than LATE_MS."""
        self.ssrc = -1
        self.ssrcs = 0
        """Sources that were heard one after another."""
        self._expected = 0
        self._first = 0
        self._highest = 0
        self._seen = 0
        self._at_ms = 0
        self._transit = 0
        self._jitter16 = 0

    @property
    def missing(self) -> int:
        """Sequence numbers that never came."""
        return self._expected + self._present() - self.packets

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter (RFC 3550 §6.4.1)."""
        return self._jitter16 / 16 / 8

    @property
    def heard_ms(self) -> int:
        """When the last packet came; 0 if none did."""
        return self._at_ms

    def worst(self, since_ms: int, until_ms: int) -> int:
        """The largest gap that ended between the two moments, 0 if none exceeded LATE_MS."""
        return max((gap for at, gap in self.late if since_ms <= at <= until_ms), default=0)

    def receive(self, seq: int, timestamp: int, ssrc: int, now_ms: int) -> bool:
        """Take one packet; false if it is a repetition."""
        if ssrc != self.ssrc:
            self._start(seq, timestamp, ssrc, now_ms)
            return True
        ahead = (seq - self._highest) & 0xFFFF
        if ahead == 1:
            self._highest += 1
            self._seen = (self._seen << 1 | 1) & _MASK
        elif ahead >= 0x8000 or ahead == 0:
            behind = -ahead & 0xFFFF
            if behind > MAX_MISORDER:
                self._start(seq, timestamp, ssrc, now_ms)
                return True
            if behind < _WINDOW:
                bit = 1 << behind
                if self._seen & bit:
                    self.duplicates += 1
                    return False
                self._seen |= bit
            if self._highest - behind < self._first:
                self._first = self._highest - behind
        elif ahead > MAX_DROPOUT:
            self._start(seq, timestamp, ssrc, now_ms)
            return True
        else:
            self._highest += ahead
            self._seen = (self._seen << ahead | 1) & _MASK
        self.packets += 1
        self._time(now_ms)
        transit = now_ms * 8 - timestamp
        apart = abs(transit - self._transit)
        self._transit = transit
        if apart < 8000:  # a wrapped timestamp or a new timeline says nothing of the network
            self._jitter16 += apart - (self._jitter16 + 8 >> 4)
        return True

    def _present(self) -> int:
        return self._highest - self._first + 1 if self.ssrcs else 0

    def _start(self, seq: int, timestamp: int, ssrc: int, now_ms: int) -> None:
        self._expected += self._present()
        self.ssrcs += 1
        self.ssrc = ssrc
        # Room below the first, so that an earlier packet that comes late stays positive.
        self._first = self._highest = seq + 0x10000
        self._seen = 1
        self._transit = now_ms * 8 - timestamp
        self.packets += 1
        if self._at_ms:
            self._time(now_ms)
        self._at_ms = now_ms

    def _time(self, now_ms: int) -> None:
        gap = now_ms - self._at_ms
        self._at_ms = now_ms
        if gap > LATE_MS:
            if gap > self.largest_gap_ms:
                self.largest_gap_ms = gap
            if len(self.late) < MAX_LATE:
                self.late.append((now_ms, gap))
        elif gap > self.largest_gap_ms:
            self.largest_gap_ms = gap
