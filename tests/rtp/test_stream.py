"""A receiver's figures: what is missing, doubled, late, and how even it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.stream import Stream


def heard(seqs: list[int], *, ssrc: int = 1, every_ms: int = 20) -> Stream:
    stream = Stream()
    for n, seq in enumerate(seqs):
        stream.receive(seq & 0xFFFF, seq * 160 & 0xFFFFFFFF, ssrc, 1_000 + n * every_ms)
    return stream


@pytest.mark.parametrize(
    ("seqs", "packets", "missing", "duplicates"),
    [
        ([], 0, 0, 0),
        ([7], 1, 0, 0),
        ([1, 2, 3], 3, 0, 0),
        ([1, 2, 5], 3, 2, 0),
        ([1, 3, 2, 4], 4, 0, 0),
        ([2, 1, 3], 3, 0, 0),
        ([1, 2, 2, 3, 1], 3, 0, 2),
        ([1, 5, 2, 2], 3, 2, 1),
        ([65_534, 65_535, 65_536, 65_537], 4, 0, 0),
        ([65_534, 65_537], 2, 2, 0),
        ([0, 65_535, 1], 3, 0, 0),  # came late across the wrap
        ([100, 40_000, 40_001], 3, 0, 0),  # a new start, not a loss of thousands
    ],
)
def test_packets_are_counted(seqs: list[int], packets: int, missing: int, duplicates: int) -> None:
    stream = heard(seqs)

    assert (stream.packets, stream.missing, stream.duplicates) == (packets, missing, duplicates)


def test_a_change_of_source_loses_nothing() -> None:
    stream = heard([1, 2, 3])
    for seq in (50_000, 50_001, 50_003):
        stream.receive(seq, 0, 2, 2_000)

    assert (stream.packets, stream.missing, stream.ssrcs) == (6, 1, 2)


@given(st.permutations(range(30)), st.sets(st.integers(0, 29), max_size=10))
def test_whatever_the_order_missing_is_what_did_not_come(order: list[int], lost: set[int]) -> None:
    came = [seq + 65_520 for seq in order if seq not in lost]

    stream = heard(came)

    inside = range(min(came), max(came) + 1)
    assert stream.missing == len(set(inside) - set(came))
    assert stream.duplicates == 0


def test_gaps_are_found_again_by_when_they_ended() -> None:
    stream = Stream()
    for n, at_ms in enumerate((1_000, 1_020, 1_040, 1_120, 1_140, 1_200, 1_220)):
        stream.receive(n, n * 160, 1, at_ms)

    assert stream.largest_gap_ms == 80
    assert stream.late == [(1_120, 80), (1_200, 60)]
    assert stream.worst(1_130, 2_000) == 60
    assert stream.worst(1_201, 2_000) == 0


def test_a_change_of_source_is_a_gap_like_any_other() -> None:
    stream = Stream()
    stream.receive(1, 0, 1, 1_000)
    stream.receive(900, 0, 2, 1_300)

    assert stream.largest_gap_ms == 300


def test_jitter_is_that_of_rfc_3550() -> None:
    even, uneven = Stream(), Stream()
    for n in range(500):
        even.receive(n, n * 160, 1, 1_000 + n * 20)
        uneven.receive(n, n * 160, 1, 1_000 + n * 20 + 10 * (n % 2))

    assert even.jitter_ms == 0
    assert uneven.jitter_ms == pytest.approx(10, abs=0.5)
