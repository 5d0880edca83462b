"""The 20 ms clock: everyone once a round, spread evenly, no drift and no bursts."""

from dataclasses import dataclass, field

import pytest

from media_servers.embedded.clock import ROUND_NS, SLOT_FILLED, SLOT_NS, SLOTS, Beats, Clock


@dataclass
class Beat:
    at: list[tuple[int, int]] = field(default_factory=list)
    bug: bool = False

    def beat(self, tick: int, now_ms: int) -> None:
        if self.bug:
            raise ZeroDivisionError
        self.at.append((tick, now_ms))


def clock(bugs: list[Beats] | None = None) -> Clock:
    return Clock(0, lambda what, _: (bugs if bugs is not None else []).append(what))


def test_each_is_served_once_a_round_and_the_load_is_spread() -> None:
    these, beats = clock(), [Beat() for _ in range(3 * SLOT_FILLED * SLOTS)]
    for beat in beats:
        these.add(beat)
        these.add(beat)  # no matter how often
    for now_ns in range(0, 5 * ROUND_NS + 1, SLOT_NS):
        these.run(now_ns)

    assert {len(beat.at) for beat in beats} == {5}
    assert {tick for beat in beats for tick, _ in beat.at} == {0, 1, 2, 3, 4}
    moments = [now_ms for beat in beats for _, now_ms in beat.at]
    assert {moments.count(now_ms) for now_ms in set(moments)} == {3 * SLOT_FILLED}


def test_few_are_served_together_and_the_process_sleeps_meanwhile() -> None:
    these, beats = clock(), [Beat() for _ in range(SLOT_FILLED)]
    for beat in beats:
        these.add(beat)
    these.run(SLOT_NS)

    assert {len(beat.at) for beat in beats} == {1}
    assert these.next_ns() == SLOT_NS + ROUND_NS


def test_a_little_late_is_made_up_for_and_does_not_drift() -> None:
    these, beat = clock(), Beat()
    these.add(beat)
    for now_ns in range(7_777_777, 100 * ROUND_NS, 7_777_777):
        these.run(now_ns)

    assert len(beat.at) in (99, 100)
    assert these.left_out == 0


def test_after_a_long_stop_nothing_is_sent_in_a_burst() -> None:
    these, beat = clock(), Beat()
    these.add(beat)
    these.run(ROUND_NS)
    these.run(500 * ROUND_NS)

    assert len(beat.at) == 2
    assert [tick for tick, _ in beat.at] == [0, 1]  # the sound goes on where it stopped
    assert these.left_out == pytest.approx(499 * SLOTS, abs=SLOTS + 1)
    assert these.behind_ns >= 498 * ROUND_NS


def test_who_raises_is_served_no_more_and_the_others_are() -> None:
    bugs: list[Beats] = []
    these, good, bad = clock(bugs), [Beat() for _ in range(SLOTS)], Beat(bug=True)
    for beat in (*good[:5], bad, *good[5:]):
        these.add(beat)
    for now_ns in range(0, 3 * ROUND_NS + 1, SLOT_NS):
        these.run(now_ns)

    assert bugs == [bad]
    assert {len(beat.at) for beat in good} == {3}


def test_it_sleeps_until_somebody_is_due() -> None:
    these, beat = clock(), Beat()
    assert these.next_ns() is None
    these.add(beat)
    assert these.next_ns() == SLOT_NS
    these.run(SLOT_NS)
    assert these.next_ns() == SLOT_NS + ROUND_NS
    these.drop(beat)
    these.drop(beat)
    assert these.next_ns() is None
