"""The timer wheel against a list sorted by deadline."""

from hypothesis import given
from hypothesis import strategies as st

from sip.wheel import GRAIN_MS, Wheel


def test_a_timer_fires_once_and_not_before_it_is_due() -> None:
    wheel: Wheel[str] = Wheel(3)
    fired: list[str] = []
    wheel.add(500, fired.append, "a")
    wheel.advance(502)
    assert fired == []
    assert wheel.next_ms == 510
    wheel.advance(510)
    wheel.advance(10_000)

    assert fired == ["a"]
    assert wheel.next_ms is None


def test_a_cancelled_timer_never_fires_not_even_when_cancelled_by_one_due_with_it() -> None:
    wheel: Wheel[str] = Wheel(0)
    fired: list[str] = []
    victim = wheel.add(100, fired.append, "victim")

    def strike(name: str) -> None:
        fired.append(name)
        victim.cancel()
        victim.cancel()

    gone = wheel.add(50, fired.append, "gone")
    wheel.add(90, strike, "striker")
    gone.cancel()
    wheel.advance(200)
    victim.cancel()

    assert fired == ["striker"]


def test_a_timer_added_by_a_timer_fires_at_a_later_call() -> None:
    wheel: Wheel[int] = Wheel(0)
    fired: list[int] = []

    def again(n: int) -> None:
        fired.append(n)
        wheel.add(0, again, n + 1)

    wheel.add(0, again, 0)
    for _ in range(3):
        wheel.advance(50)

    assert fired == [0, 1, 2]


def test_time_does_not_go_backwards() -> None:
    wheel: Wheel[int] = Wheel(1_000)
    wheel.advance(500)
    wheel.set_now(900)

    assert wheel.now_ms == 1_000


@given(st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 200), st.booleans()), max_size=60))
def test_timers_fire_in_order_and_no_more_than_a_grain_late(
    steps: list[tuple[int, int, bool]],
) -> None:
    wheel: Wheel[int] = Wheel(7)
    fired: list[tuple[int, int]] = []
    wanted: dict[int, int] = {}
    for n, (delay, pause, is_cancelled) in enumerate(steps):
        entry = wheel.add(delay, lambda n: fired.append((wheel.now_ms, n)), n)
        if is_cancelled:
            entry.cancel()
        else:
            wanted[n] = wheel.now_ms + delay
        wheel.set_now(wheel.now_ms + pause)
    now = wheel.now_ms
    while wheel.next_ms is not None:
        wheel.advance(wheel.next_ms)

    assert sorted(n for _, n in fired) == sorted(wanted)
    assert [ms for ms, _ in fired] == sorted(ms for ms, _ in fired)
    for ms, n in fired:
        assert wanted[n] <= ms < max(now, wanted[n]) + GRAIN_MS
