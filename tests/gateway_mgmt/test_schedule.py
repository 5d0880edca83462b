"""Who is asked when."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_mgmt.schedule import POKE_MS, Lane, Schedule

MINUTE_MS = 60_000


def schedule(count: int, *, places: int = 10, period_ms: int = MINUTE_MS) -> Schedule:
    names = {f"gw{n}": period_ms for n in range(count)}
    return Schedule(names, 0, {Lane.FAST: places, Lane.SLOW: places})


def test_polls_are_spread_over_the_cycle() -> None:
    found = schedule(60, places=60)
    for second in range(60):
        assert found.take(second * 1_000) == [f"gw{second}"]


def test_a_change_of_the_devices_delays_nobody() -> None:
    found = schedule(60, places=60)
    asked: list[int] = []
    for second in range(600):
        now_ms = second * 1_000
        if second % 20 == 19:  # somebody applies a change again and again
            periods = {f"gw{n}": MINUTE_MS for n in range(60)}
            places = {Lane.FAST: 60, Lane.SLOW: 60}
            found = Schedule(periods, now_ms, places, found.due_ms)
        for name in found.take(now_ms):
            found.done(name, answered=True, now_ms=now_ms)
            asked += [now_ms] if name == "gw59" else []
    assert len(asked) >= 10
    assert max(b - a for a, b in pairwise(asked)) <= MINUTE_MS


def test_a_device_is_asked_by_one_poll_at_a_time() -> None:
    found = schedule(1, period_ms=1_000)
    assert found.take(0) == ["gw0"]
    assert found.take(5_000) == []
    found.poke("gw0", 5_000)
    assert found.take(5_000) == []
    found.done("gw0", answered=True, now_ms=5_100)
    assert found.take(5_100) == ["gw0"], "a trap came while it was asked: what it said is not known"


def test_the_dead_hold_up_nobody_who_answers() -> None:
    """After they were missed once they wait among themselves."""
    found = schedule(20, places=2, period_ms=1_000)
    dead = {f"gw{n}" for n in range(10)}
    asked: list[tuple[int, str]] = []
    busy: dict[str, int] = {}
    for now_ms in range(0, 60_000, 10):
        for name, until_ms in list(busy.items()):
            if now_ms >= until_ms:
                del busy[name]
                found.done(name, answered=name not in dead, now_ms=now_ms)
        for name in found.take(now_ms):
            asked.append((now_ms, name))
            busy[name] = now_ms + (4_000 if name in dead else 10)
    late = [name for now_ms, name in asked if now_ms > 30_000]
    for n in range(10, 20):
        assert late.count(f"gw{n}") in (29, 30), "once a second, as if nobody were dead"
    assert all(late.count(name) >= 1 for name in dead), "and the dead are asked still"


def test_who_comes_back_is_asked_at_his_pace_again() -> None:
    found = schedule(1, period_ms=1_000)
    now_ms = 0
    for _ in range(10):
        assert found.take(now_ms) == ["gw0"]
        found.done("gw0", answered=False, now_ms=now_ms)
        now_ms = found.next_ms() or 0
    assert found.lane("gw0") is Lane.SLOW
    found.take(now_ms)
    found.done("gw0", answered=True, now_ms=now_ms)
    assert found.lane("gw0") is Lane.FAST
    assert (found.next_ms() or 0) - now_ms == 1_000


def test_what_was_spoilt_by_us_moves_nobody_to_the_slow_lane() -> None:
    found = schedule(1)
    found.take(0)
    found.done("gw0", answered=None, now_ms=10)
    assert found.lane("gw0") is Lane.FAST


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_traps_ask_for_at_most_one_poll_a_second(gaps_ms: list[int]) -> None:
    found = schedule(1, period_ms=1_000_000)
    found.take(0)
    found.done("gw0", answered=True, now_ms=0)
    traps_ms = {1 + sum(gaps_ms[:n]) for n in range(len(gaps_ms))}
    polls: list[int] = []
    for now_ms in range(1, max(traps_ms) + 2 * POKE_MS):
        if now_ms in traps_ms:
            found.poke("gw0", now_ms)
        if found.take(now_ms):
            polls.append(now_ms)
            found.done("gw0", answered=True, now_ms=now_ms)
    assert polls[0] == 1, "the first trap is followed at once"
    assert all(b - a >= POKE_MS for a, b in pairwise(polls))
    assert polls[-1] >= max(traps_ms), "what the last trap told of is read"


def test_who_told_of_a_change_goes_first() -> None:
    found = schedule(100, places=1)
    assert found.take(0) == ["gw0"]
    assert found.take(MINUTE_MS) == []  # all others are due and wait
    found.poke("gw77", MINUTE_MS)
    found.done("gw0", answered=True, now_ms=MINUTE_MS)
    assert found.take(MINUTE_MS) == ["gw77"]


def test_a_trap_of_nobody_asks_nobody() -> None:
    found = schedule(1)
    found.poke("stranger", 0)
    assert found.take(0) == ["gw0"]
