"""Silence is measured by what was asked and answered, and told apart from a late answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import facts
from loadtest.facts import AnyFact
from loadtest.probes import Asked, asked, first_answer_ms, silence_ms
from loadtest.view import NEVER


def probes(*times: tuple[float, float | None]) -> list[Asked]:
    """(sent, answered or None), each in a call of its own."""
    return [
        Asked(f"in-{n}", sent, NEVER if answered is None else answered, 0 if not answered else 200)
        for n, (sent, answered) in enumerate(times)
    ]


def test_an_answer_is_matched_by_call_and_number_and_counts_once() -> None:
    def probed(ms: int, call: str, n: int) -> AnyFact:
        return facts.Probed(ms=ms, who="c1", call=call, n=n)

    def answered(ms: int, call: str, n: int, status: int = 200) -> AnyFact:
        return facts.ProbeAnswered(ms=ms, who="c1", call=call, n=n, status=status)

    log = [
        probed(10, "x", 2),
        probed(20, "y", 2),
        answered(25, "y", 2),
        answered(26, "x", 9),
        answered(30, "x", 2, 481),
        answered(90, "x", 2),
    ]
    assert asked(log) == [Asked("x", 10, 30, 481), Asked("y", 20, 25, 200)]


def test_what_was_sent_before_the_old_active_stood_still_does_not_count() -> None:
    seen = probes((100, 104), (110, 300), (120, None), (130, 260), (140, 255))
    assert first_answer_ms(seen, 115) == 255
    assert first_answer_ms(seen, 105) == 255
    assert first_answer_ms(seen, 140) is None
    assert first_answer_ms([], 0) is None


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(100, 104), (200, None), (300, 304)], 200),
        ([(90, 95), (100, None), (200, None)], 205),
        ([(100, None), (150, 160), (250, 255), (390, 395)], 140),
        ([(100, None)], 200),
        ([(10, 12), (400, 402)], None),
        ([], None),
    ],
)
def test_the_silence_is_the_longest_time_without_any_answer(
    seen: list[tuple[float, float | None]], expected: float | None
) -> None:
    assert silence_ms(probes(*seen), 100, 300) == expected


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_silence_is_as_long_as_what_was_asked_in_vain(first: int, unanswered: int) -> None:
    in_vain = range(first, first + unanswered)
    seen = probes(*((10.0 * n, None if n in in_vain else 10.0 * n + 3) for n in range(-5, 90)))
    assert silence_ms(seen, 10.0 * first, 850) == 10 * (unanswered + 1)
