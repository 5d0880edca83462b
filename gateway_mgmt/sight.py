"""What is known of one device from poll to poll, and what of it is news.

A silent device is unreachable only after MISSES polls in a row, and when SIP does not answer
either. A poll that our own lateness spoilt says nothing: unknown, never down.
"""

from collections.abc import Iterator, Mapping, Sequence

from gateway_mgmt import ds1
from gateway_mgmt.ds1 import Row
from gateway_mgmt.inventory import Device
from gateway_mgmt.observation import Observation
from gateway_mgmt.profile import Profile
from gateway_mgmt.reading import Reading, SpanReading

MISSES = 3
SIP_UP = 2
"""So many answers in a row, and a SIP side that was down is up."""
TICKS = 1 << 32
"""TimeTicks start again at zero after 497 days, which is no reboot."""
WRAP_TICKS = 6 * 3_600 * 100
"""A wrap is believed of a device that was asked so shortly before it."""


class Sight:
    """One device's. It is asked by one poll at a time, so nothing here races."""

    def __init__(self, name: str, device: Device, profile: Profile) -> None:
        self.name = name
        self.device = device
        self.profile = profile
        self.missed = 0
        self.is_unreachable = False
        self.reading: Reading | None = None
        self.rows: dict[int, list[Row]] = {number: [] for number in device.spans}
        """The newest intervals of each span, the oldest first."""
        self._said: dict[tuple[str, str], bool] = {}
        self._sip_missed = 0
        self._sip_answered = SIP_UP  # nothing was missed yet

    @property
    def known_ms(self) -> Mapping[int, Sequence[int]]:
        return {number: [row.start_ms for row in rows] for number, rows in self.rows.items()}

    def answered(self, reading: Reading) -> list[Observation]:
        """It answered, in whole or in part."""
        before, self.reading = self.reading, reading
        self.missed = 0
        self.is_unreachable = False
        news = self._news("", {"unreachable": False}, reading.at_ms)
        news += self._news("", {"reboot": is_reboot(before, reading)}, reading.at_ms)
        for number, span in reading.spans.items():
            news += self._news(f"/{number}", dict(self._line(number, span)), reading.at_ms)
        return news

    def read_rows(self, rows: Sequence[tuple[int, Row]], at_ms: int) -> list[Observation]:
        """Intervals came."""
        self.knows(rows)
        news: list[Observation] = []
        for number in dict.fromkeys(number for number, _ in rows):
            span = self.reading.spans.get(number) if self.reading else None
            if span is not None:
                news += self._news(f"/{number}", dict(self._errored(number, span)), at_ms)
        return news

    def knows(self, rows: Sequence[tuple[int, Row]]) -> None:
        """These intervals are known; those that were already are not kept twice."""
        for number, row in rows:
            kept = self.rows.get(number)
            if kept is not None and not ds1.is_known((one.start_ms for one in kept), row.start_ms):
                kept.append(row)
                kept.sort(key=lambda one: one.start_ms)
                del kept[: -ds1.INTERVALS_MAX]

    def unknown(self, at_ms: int) -> list[Observation]:
        """We were late ourselves, or could not ask."""
        return [Observation(self.name, "unreachable", None, at_ms)]

    def silent(self, *, sip_answers: bool | None, at_ms: int) -> list[Observation]:
        """Nothing came. `sip_answers` None: it has no SIP side that is asked."""
        self.missed += 1
        news: list[Observation] = []
        if sip_answers:
            self.is_unreachable = False
        elif self.missed >= MISSES:
            self.is_unreachable = True
        if sip_answers or self.is_unreachable:
            news += self._news("", {"unreachable": self.is_unreachable}, at_ms)
        return news

    def refused(self, at_ms: int) -> list[Observation]:
        """It answered that it will not: whatever its lines do, it is there."""
        self.missed = 0
        self.is_unreachable = False
        return self._news("", {"unreachable": False}, at_ms)

    def sip(self, answers: bool, at_ms: int) -> list[Observation]:
        """Its SIP side was asked."""
        self._sip_missed = 0 if answers else self._sip_missed + 1
        self._sip_answered = self._sip_answered + 1 if answers else 0
        if self._sip_missed >= MISSES:
            return self._news("", {"sip_down": True}, at_ms)
        if self._sip_answered >= SIP_UP:
            return self._news("", {"sip_down": False}, at_ms)
        return []

    def _line(self, number: int, span: SpanReading) -> Iterator[tuple[str, bool]]:
        on: set[str] = set()
        told: set[str] = set()
        if span.status is not None:
            told.update(ds1.STATUS_CONDITIONS)
            on.update(ds1.conditions(span.status, span.loopback))
        for name, value in span.own.items():
            meanings = self.profile.spans[name].conditions
            told.update(meanings.values())
            on.update([meanings[value]] if value in meanings else ())
        yield from ((condition, condition in on) for condition in sorted(told))
        yield from self._errored(number, span)

    def _errored(self, number: int, span: SpanReading) -> Iterator[tuple[str, bool]]:
        """On from the second that is too many until a whole interval had less."""
        most = self.device.spans[number].errored_seconds_max
        if not most or span.current is None or self.reading is None:
            return
        if span.current.es >= most:
            yield "errored_seconds", True
        elif span.elapsed_s is not None:
            row = ds1.newest(
                self.rows[number], read_at_ms=self.reading.at_ms, elapsed_s=span.elapsed_s
            )
            if row is not None:
                yield "errored_seconds", row.counters.es >= most
            elif not (self.profile.intervals and span.intervals):
                yield "errored_seconds", False  # there is nothing else to ask

    def _news(self, below: str, found: Mapping[str, bool], at_ms: int) -> list[Observation]:
        """What of it was not said before."""
        path = self.name + below
        news: list[Observation] = []
        for condition, is_on in found.items():
            if self._said.get((path, condition)) == is_on:
                continue
            self._said[path, condition] = is_on
            news.append(Observation(path, condition, is_on, at_ms))
        return news


def is_reboot(before: Reading | None, now: Reading) -> bool:
    """Did the device start again since?"""
    if before is None:
        return False
    if before.boots is not None and now.boots is not None and now.boots > before.boots:
        return True
    if before.uptime_ticks is None or now.uptime_ticks is None:
        return False
    if now.uptime_ticks >= before.uptime_ticks:
        return False
    return before.uptime_ticks + WRAP_TICKS < TICKS or now.uptime_ticks > WRAP_TICKS
