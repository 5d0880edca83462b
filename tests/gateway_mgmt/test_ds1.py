"""An E1 line's status bits, intervals and availability."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_mgmt import ds1
from gateway_mgmt.ds1 import Counters, Row
from gateway_mgmt.observation import CONDITIONS

MINUTE_MS = 60_000


def test_a_status_is_a_sum_of_bits() -> None:
    assert ds1.conditions(1) == frozenset()
    assert ds1.conditions(64 + 32 + 4) == {"los", "lof", "tx_rai"}
    assert ds1.conditions(128) == {"loopback"}
    assert ds1.conditions(1, loopback=4) == {"loopback"}
    assert ds1.conditions(1 << 20) == {"other_fault"}, "a bit that a later revision adds"


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_every_status_is_told_in_known_conditions(status: int) -> None:
    found = ds1.conditions(status)
    assert found <= CONDITIONS
    assert bool(found) == bool(status & ~1)


def test_after_an_outage_of_ours_the_gap_is_read_and_nothing_else() -> None:
    read_at_ms, elapsed_s = 100 * ds1.INTERVAL_MS + 120_000, 120
    starts = [ds1.start_of(n, read_at_ms=read_at_ms, elapsed_s=elapsed_s) for n in range(96, 0, -1)]
    assert starts == [n * ds1.INTERVAL_MS for n in range(4, 100)]

    def missing(known: list[int], intervals: int = 96) -> list[int]:
        return ds1.missing(known, intervals=intervals, read_at_ms=read_at_ms, elapsed_s=elapsed_s)

    assert missing(starts) == []
    assert missing(starts[:-3]) == [3, 2, 1], "we were away for three quarters of an hour"
    assert missing(starts[:50] + starts[52:]) == [46, 45]
    assert missing([]) == list(range(96, 0, -1))
    assert missing([], intervals=2) == [2, 1], "the device started half an hour ago"
    assert missing([], intervals=-1) == missing([], intervals=0) == []


@settings(deadline=None)
@given(st.lists(st.integers(-20_000, 20_000), min_size=96, max_size=96))
def test_a_late_poll_or_a_drifting_clock_reads_no_interval_twice(late_ms: list[int]) -> None:
    known = [n * ds1.INTERVAL_MS + late for n, late in enumerate(late_ms)]
    assert ds1.missing(known, intervals=96, read_at_ms=96 * ds1.INTERVAL_MS, elapsed_s=0) == []


def test_availability_is_of_g826() -> None:
    rows = [Row(n * ds1.INTERVAL_MS, Counters()) for n in range(94)]
    rows.append(Row(94 * ds1.INTERVAL_MS, Counters(es=10, ses=2, uas=300)))
    rows.append(Row(95 * ds1.INTERVAL_MS, Counters(es=900, uas=900), is_valid=False))
    found = ds1.availability(rows)
    assert (found.rows, found.left_out) == (95, 1)
    assert found.measured_s == 95 * 900
    assert found.available_s == 95 * 900 - 300
    assert found.percent == 100 * (95 * 900 - 300) / (95 * 900)
    assert found.esr == 10 / found.available_s
    assert found.sesr == 2 / found.available_s


def test_a_line_that_was_never_measured_has_no_availability() -> None:
    assert ds1.availability([]).percent is None
    down = ds1.availability([Row(0, Counters(uas=900))])
    assert (down.percent, down.esr, down.sesr) == (0, None, None)
