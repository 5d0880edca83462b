"""What is known of a device from poll to poll, and what is said of it."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from gateway_mgmt import ds1, observable, oids
from gateway_mgmt.access import Community
from gateway_mgmt.ds1 import Counters, Row
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.observation import Observation
from gateway_mgmt.reading import (
    ROWS_AT_ONCE,
    Reading,
    SpanReading,
    questions,
    read,
    read_rows,
    row_questions,
    wanted_rows,
)
from gateway_mgmt.sight import TICKS, Sight, is_reboot
from gateway_mgmt.snmp.pdu import Value

DEVICE = Device(
    site="a",
    profile="audiocodes",
    address=("10.0.0.1", 161),
    access=Community("env:C"),
    spans={1: Span(index=7, errored_seconds_max=5)},
)
PROFILE = shipped()["audiocodes"]
D_CHANNEL = f"{PROFILE.spans['d_channel'].oid}.0"


@dataclass
class Poll:
    """Polls of one device: `values` are what it answers."""

    sight: Sight = field(default_factory=lambda: Sight("tg1", DEVICE, PROFILE))
    now_ms: int = 0

    def __call__(self, **values: Value) -> dict[tuple[str, str], bool | None]:
        self.now_ms += 1_000
        found: dict[str, Value] = {
            oids.SYS_UPTIME: values.get("uptime", self.now_ms // 10),
            f"{oids.LINE['status']}.7": values.get("status", 1),
            f"{oids.LINE['elapsed_s']}.7": values.get("elapsed_s", 30),
            f"{oids.LINE['intervals']}.7": values.get("intervals", 96),
            f"{oids.CURRENT['es']}.7": values.get("es", 0),
            D_CHANNEL: values.get("d_channel", 0),
        }
        reading = read("tg1", DEVICE, PROFILE, found, self.now_ms)
        return told(self.sight.answered(reading))

    def row(self, number: int, es: int) -> dict[tuple[str, str], bool | None]:
        """The interval with this number is read."""
        start_ms = ds1.start_of(number, read_at_ms=self.now_ms, elapsed_s=30)
        return told(self.sight.read_rows([(1, Row(start_ms, Counters(es=es)))], self.now_ms))


def told(news: list[Observation]) -> dict[tuple[str, str], bool | None]:
    return {(one.path, one.condition): one.is_on for one in news}


def test_what_is_seen_is_said_once() -> None:
    poll = Poll()
    first = poll()
    assert first["tg1", "unreachable"] is False
    assert first["tg1/1", "los"] is False
    assert poll() == {}
    assert poll(status=64 + 32) == {("tg1/1", "los"): True, ("tg1/1", "lof"): True}
    assert poll(status=64 + 32) == {}
    assert poll(status=64) == {("tg1/1", "lof"): False}
    assert poll() == {("tg1/1", "los"): False}


@pytest.mark.parametrize("name", shipped())
def test_whatever_is_said_is_looked_for(name: str) -> None:
    """Else the plan would clear what stands, at the next change of the centre."""
    profile = shipped()[name]
    device = replace(DEVICE, profile=name, sip=("10.0.0.1", 5_060))
    sight = Sight("tg1", device, profile)
    said: set[tuple[str, str]] = set()
    worst = {one: next(iter(column.conditions), 0) for one, column in profile.spans.items()}
    for status in (0, (1 << 20) - 1):
        told_now = SpanReading(status, 2, 300, 96, current=Counters(es=status and 900), own=worst)
        spans = {1: told_now if profile.ds1 else SpanReading(own=worst)}
        said |= {*told(sight.answered(Reading("tg1", 1_000, 500, spans=spans)))}
    for _ in range(3):
        said |= {*told(sight.silent(sip_answers=False, at_ms=2_000))}
        said |= {*told(sight.sip(False, 2_000))}

    expected = {("tg1", one) for one in observable.of_device(device)}
    expected |= {("tg1/1", one) for one in observable.of_span(profile, device.spans[1])}
    assert said == expected


def test_a_d_channel_is_read_where_the_vendor_has_it() -> None:
    poll = Poll()
    assert poll()["tg1/1", "d_channel_down"] is False
    assert poll(d_channel=1) == {("tg1/1", "d_channel_down"): True}
    assert poll(d_channel=10) == {("tg1/1", "d_channel_down"): False}, "10: there is none"


def test_what_was_not_told_is_not_said_to_be_well() -> None:
    poll = Poll()
    poll(status=64)
    assert poll(status=None) == {}
    assert poll(status=b"junk") == {}
    assert poll(status=1) == {("tg1/1", "los"): False}


def test_a_device_is_unreachable_after_three_misses_and_no_answer_of_sip() -> None:
    poll = Poll()
    poll()
    for _ in range(2):
        assert poll.sight.silent(sip_answers=None, at_ms=0) == []
    assert told(poll.sight.silent(sip_answers=None, at_ms=0)) == {("tg1", "unreachable"): True}
    assert poll.sight.silent(sip_answers=None, at_ms=0) == []
    assert poll() == {("tg1", "unreachable"): False}


def test_a_device_whose_sip_answers_is_not_unreachable() -> None:
    poll = Poll()
    poll()
    for _ in range(10):
        assert poll.sight.silent(sip_answers=True, at_ms=0) == []
    assert told(poll.sight.silent(sip_answers=False, at_ms=0)) == {("tg1", "unreachable"): True}
    assert told(poll.sight.silent(sip_answers=True, at_ms=0)) == {("tg1", "unreachable"): False}


def test_our_own_lateness_is_unknown_and_never_down() -> None:
    poll = Poll()
    poll()
    for _ in range(10):
        assert told(poll.sight.unknown(0)) == {("tg1", "unreachable"): None}
    assert poll.sight.missed == 0
    assert not poll.sight.is_unreachable


def test_a_sip_side_is_down_after_three_misses_and_up_after_two_answers() -> None:
    sight = Poll().sight
    said = [told(sight.sip(answers, 0)) for answers in (True, False, False, False, True, True)]
    assert said == [
        {("tg1", "sip_down"): False},
        {},
        {},
        {("tg1", "sip_down"): True},
        {},
        {("tg1", "sip_down"): False},
    ]


def test_a_reboot_is_seen_once() -> None:
    poll = Poll()
    poll(uptime=5_000_000)
    assert poll(uptime=1_000) == {("tg1", "reboot"): True}
    assert poll(uptime=1_100) == {("tg1", "reboot"): False}


def test_a_clock_that_starts_again_after_497_days_is_no_reboot() -> None:
    def at(uptime: int, boots: int | None = None) -> Reading:
        return Reading("tg1", 0, uptime_ticks=uptime, boots=boots)

    assert not is_reboot(at(TICKS - 3_000), at(3_000))
    assert is_reboot(at(TICKS // 2), at(3_000))
    assert is_reboot(at(100, boots=1), at(200, boots=2))
    assert not is_reboot(None, at(3_000))


ERRORED = ("tg1/1", "errored_seconds")


def test_too_many_errored_seconds_last_until_an_interval_had_less() -> None:
    poll = Poll()
    assert ERRORED not in poll(), "the interval before is not known yet"
    assert poll.row(1, es=0) == {ERRORED: False}
    assert poll(es=5) == {ERRORED: True}
    poll.now_ms += ds1.INTERVAL_MS
    assert poll(es=0) == {}, "the next interval has begun; of the last one nothing is known yet"
    assert poll.row(1, es=9) == {}
    poll.now_ms += ds1.INTERVAL_MS
    assert poll(es=0) == {}
    assert poll.row(1, es=4) == {ERRORED: False}


def test_who_takes_over_neither_clears_errored_seconds_nor_finds_those_of_long_ago() -> None:
    """He knows no interval, and reads the day's, the oldest first but for the newest."""
    standing = Poll()
    assert ERRORED not in standing(es=1)
    assert standing.row(96, es=0) == {}
    assert standing.row(1, es=7) == {ERRORED: True}

    well = Poll()
    assert ERRORED not in well()
    assert well.row(96, es=900) == {}
    assert well.row(1, es=0) == {ERRORED: False}
    assert well.row(48, es=900) == {}


def test_of_a_line_that_keeps_no_intervals_the_running_one_says_all() -> None:
    poll = Poll()
    assert poll(intervals=0)[ERRORED] is False
    assert poll(intervals=0, es=5) == {ERRORED: True}
    assert poll(intervals=0) == {ERRORED: False}
    assert poll(es=5) == {ERRORED: True}
    assert poll(elapsed_s=None, intervals=None) == {}, "an answer in part clears nothing"


def test_intervals_are_filled_in_a_few_polls_the_newest_first_and_then_the_oldest() -> None:
    sight = Poll().sight
    now_ms = 200 * ds1.INTERVAL_MS + 30_000
    values: dict[str, Value] = {
        f"{oids.LINE['elapsed_s']}.7": 30,
        f"{oids.LINE['intervals']}.7": 96,
        oids.SYS_UPTIME: 1,
    }
    asked: list[int] = []
    for _ in range(9):
        reading = read("tg1", DEVICE, PROFILE, values, now_ms)
        sight.answered(reading)
        wanted = wanted_rows(DEVICE, PROFILE, reading, sight.known_ms)
        assert len(wanted) <= ROWS_AT_ONCE
        answers: dict[str, Value] = dict.fromkeys(row_questions(DEVICE, wanted), 1)
        rows = read_rows(DEVICE, reading, wanted, answers)
        sight.read_rows(rows, now_ms)
        asked += [interval for _, interval in wanted]
    assert asked == [1, *range(96, 1, -1)]
    assert [row.start_ms for row in sight.rows[1]] == [n * ds1.INTERVAL_MS for n in range(104, 200)]


def test_an_answer_in_part_is_read_in_part() -> None:
    asked = questions(DEVICE, PROFILE)
    half: dict[str, Value] = dict.fromkeys(asked[: len(asked) // 2], 1)
    reading = read("tg1", DEVICE, PROFILE, half, 0)
    assert reading.asked == len(asked)
    assert reading.missing == len(asked) - len(asked) // 2
    assert reading.spans[1].status == 1
