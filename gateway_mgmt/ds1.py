"""An E1 line as DS1-MIB (RFC 4805) shows it: status bits, counters, intervals, availability.

The device keeps 96 intervals of 15 minutes. Which of them are read follows from what is known, so
after an outage of ours the same rule fills the gap.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

INTERVAL_S = 900
INTERVAL_MS = INTERVAL_S * 1_000
INTERVALS_MAX = 96
SAME_ROW_MS = 300_000
"""Two starts that differ by less are of one interval: polls are late, and devices' clocks drift."""

NO_ALARM = 1
BITS = {
    2: "rai",
    4: "tx_rai",
    8: "ais",
    16: "tx_ais",
    32: "lof",
    64: "los",
    128: "loopback",
    256: "ts16_ais",
    512: "ts16_lomf",
    1_024: "tx_lomf",
    2_048: "test_code",
    4_096: "other_fault",
    8_192: "unavailable",
    16_384: "out_of_service",
    32_768: "payload_ais",
    65_536: "other_fault",
}
"""dsx1LineStatus is an INTEGER that is a sum of these, not BITS."""
STATUS_CONDITIONS = tuple(dict.fromkeys(BITS.values()))

NO_LOOP = 1
"""dsx1LoopbackStatus: a sum of bits too; any other says that the line is looped."""


class Counters(msgspec.Struct, frozen=True):
    """Seconds and violations of one interval, or of the part of it that has passed."""

    es: int = 0
    ses: int = 0
    sefs: int = 0
    uas: int = 0
    css: int = 0
    pcv: int = 0
    les: int = 0
    bes: int = 0
    dm: int = 0
    lcv: int = 0


class Row(msgspec.Struct, frozen=True):
    """One whole interval of a span."""

    start_ms: int
    counters: Counters
    is_valid: bool = True
    """False: the device itself could not measure all of it."""


class Availability(msgspec.Struct, frozen=True):
    """What the rows of a span say of it (ITU-T G.826)."""

    measured_s: int
    available_s: int
    es: int
    ses: int
    rows: int
    left_out: int
    """Rows that the device says are not valid."""

    @property
    def percent(self) -> float | None:
        return 100 * self.available_s / self.measured_s if self.measured_s else None

    @property
    def esr(self) -> float | None:
        """The part of available seconds with an error."""
        return self.es / self.available_s if self.available_s else None

    @property
    def sesr(self) -> float | None:
        """The part of available seconds with severe errors."""
        return self.ses / self.available_s if self.available_s else None


def conditions(status: int, loopback: int | None = None) -> frozenset[str]:
    """What a line status says is wrong. Bits that nobody knows yet are another fault."""
    found = {name for bit, name in BITS.items() if status & bit}
    if status & ~(sum(BITS) | NO_ALARM):
        found.add("other_fault")
    if loopback is not None and loopback & ~NO_LOOP:
        found.add("loopback")
    return frozenset(found)


def start_of(interval: int, *, read_at_ms: int, elapsed_s: int) -> int:
    """When the interval with this number began; 1 is the newest that is whole."""
    return read_at_ms - elapsed_s * 1_000 - interval * INTERVAL_MS


def missing(
    known_ms: Collection[int], *, intervals: int, read_at_ms: int, elapsed_s: int
) -> list[int]:
    """The numbers of the intervals that the device has and we do not, the oldest first."""
    kept = min(max(intervals, 0), INTERVALS_MAX)
    return [
        number
        for number in range(kept, 0, -1)
        if not is_known(known_ms, start_of(number, read_at_ms=read_at_ms, elapsed_s=elapsed_s))
    ]


def newest(rows: Sequence[Row], *, read_at_ms: int, elapsed_s: int) -> Row | None:
    """Interval 1 of a line that was read so, if it is among these; they may have gaps."""
    start_ms = start_of(1, read_at_ms=read_at_ms, elapsed_s=elapsed_s)
    return next((row for row in reversed(rows) if is_known((row.start_ms,), start_ms)), None)


def is_known(known_ms: Iterable[int], start_ms: int) -> bool:
    return any(abs(start_ms - known) < SAME_ROW_MS for known in known_ms)


def availability(rows: Sequence[Row]) -> Availability:
    """ES and SES of DS1-MIB are of available time already, so UAS is not taken off them again."""
    valid = [row.counters for row in rows if row.is_valid]
    measured_s = INTERVAL_S * len(valid)
    return Availability(
        measured_s=measured_s,
        available_s=measured_s - sum(min(row.uas, INTERVAL_S) for row in valid),
        es=sum(row.es for row in valid),
        ses=sum(row.ses for row in valid),
        rows=len(valid),
        left_out=len(rows) - len(valid),
    )
