"""A node gives a shard away when its SIP side falls silent, and only then."""

from collections.abc import Iterable

from failover.grey import MISSES, Sight, Unproven, is_dead, step

ANSWER, SILENCE, EXCUSED = "answer", "silence", "excused"


def seen(what: Iterable[str]) -> tuple[Sight, list[int]]:
    """The last sight, and after which of the questions the shard was to be handed over."""
    sight: Sight = Unproven()
    given: list[int] = []
    for n, each in enumerate(what, 1):
        sight, give_away = step(sight, answered=each == ANSWER, is_excused=each == EXCUSED)
        given += [n] if give_away else []
    return sight, given


def test_a_shard_whose_address_falls_silent_is_handed_over_after_some_misses_in_a_row() -> None:
    assert seen([ANSWER, *[SILENCE] * MISSES]) == (seen([ANSWER])[0], [1 + MISSES])
    assert seen([ANSWER, *[SILENCE] * (MISSES - 1), ANSWER, SILENCE])[1] == []


def test_what_was_silent_from_the_start_is_told_and_stays_where_it_is() -> None:
    sight, given = seen([SILENCE] * 20)
    assert given == []
    assert is_dead(sight)
    assert not is_dead(seen([SILENCE] * 20 + [ANSWER])[0])


def test_a_node_that_is_late_itself_blames_nobody() -> None:
    assert seen([ANSWER, *[EXCUSED] * 20])[1] == []
    assert seen([ANSWER, *[SILENCE, EXCUSED] * MISSES])[1] == [2 * MISSES]


def test_a_hand_over_that_failed_is_tried_again_after_as_many_misses() -> None:
    assert seen([ANSWER, *[SILENCE] * 2 * MISSES])[1] == [1 + MISSES, 1 + 2 * MISSES]
