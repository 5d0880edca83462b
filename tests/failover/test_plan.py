"""In which order an address moves."""

import pytest

from cluster.store import Process
from failover.plan import (
    BIND_TRIES,
    HANDED_ASKS,
    SEARCH_AFTER,
    SEARCHES,
    WAIT_TRIES,
    Alive,
    Asking,
    Binding,
    Bound,
    Ending,
    Failed,
    Gone,
    Held,
    InUse,
    Moved,
    NotEnded,
    NotHeld,
    Outcome,
    Released,
    Searching,
    Silent,
    State,
    Stopped,
    Waiting,
    begin,
    step,
)


def process(node: str, incarnation: str = "x") -> Process:
    return Process(node, incarnation, pid=7, start_time=1, host="h", boot_id="b")


ME, OLD, OLDER = process("b"), process("a"), process("c")


@pytest.mark.parametrize(
    ("outcomes", "states"),
    [
        ([Released(), Bound()], [Asking(OLD), Binding(), Moved()]),
        ([Gone(), Bound()], [Asking(OLD), Binding(), Moved()]),
        ([Silent(), Gone(), Bound()], [Asking(OLD), Ending(OLD), Binding(), Moved()]),
        (
            [Alive(), InUse(), Bound()],
            [Asking(OLD), Waiting(OLD), Waiting(OLD, 0, 1), Moved()],
        ),
        (
            [Alive(), *[InUse()] * WAIT_TRIES, Gone(), Bound()],
            [
                Asking(OLD),
                *(Waiting(OLD, 0, n) for n in range(WAIT_TRIES)),
                Ending(OLD),
                Binding(),
                Moved(),
            ],
        ),
        ([Silent(), NotEnded(), Bound()], [Asking(OLD), Ending(OLD), Binding(), Moved()]),
        ([Stopped(), Gone(), Bound()], [Asking(OLD), Ending(OLD), Binding(), Moved()]),
    ],
)
def test_the_old_active_is_asked_and_ended_only_if_it_neither_answers_nor_lets_go(
    outcomes: list[Outcome], states: list[State]
) -> None:
    state = begin(OLD, me=ME)
    seen = [state]
    for outcome in outcomes:
        state = step(state, outcome)
        seen.append(state)
    assert seen == states


@pytest.mark.parametrize("old", [None, ME])
def test_with_nobody_else_before_us_we_bind_at_once(old: Process | None) -> None:
    assert begin(old, me=ME) == Binding()


def test_an_older_active_that_was_left_behind_is_found_by_its_socket() -> None:
    state = begin(OLD, me=ME)
    state = step(state, Gone())
    for _ in range(SEARCH_AFTER):
        state = step(state, InUse())
    assert state == Searching(1)
    state = step(state, Held(OLDER))
    assert state == Asking(OLDER, 1)
    assert step(step(state, Silent()), Gone()) == Binding(0, 1)


@pytest.mark.parametrize("found", [NotHeld(), Held(OLDER)])
def test_an_address_that_stays_in_use_is_given_up_after_a_bounded_time(found: Outcome) -> None:
    state: State = begin(None, me=ME)
    steps = 0
    while not isinstance(state, Failed):
        match state:
            case Binding():
                outcome: Outcome = InUse()
            case Searching():
                outcome = found
            case Asking():
                outcome = Alive()
            case Waiting():
                outcome = InUse()
            case _:
                outcome = NotEnded()
        state = step(state, outcome)
        steps += 1
    assert steps < BIND_TRIES + SEARCHES * (SEARCH_AFTER + WAIT_TRIES + 4) + 1


def test_who_handed_over_is_asked_for_long_before_it_is_ended() -> None:
    """It was well a moment ago: to end it for being starved would cost all its other shards."""
    state = begin(OLD, me=ME, handed=True)
    for asked in range(HANDED_ASKS):
        assert state == Asking(OLD, again=HANDED_ASKS - asked)
        state = step(state, Silent() if asked % 2 else Alive())
    assert state == Asking(OLD)
    assert step(state, Silent()) == Ending(OLD)


def test_who_handed_over_and_then_stands_still_or_is_gone_is_not_waited_for() -> None:
    state = begin(OLD, me=ME, handed=True)
    assert step(state, Stopped()) == Ending(OLD)
    assert step(state, Gone()) == Binding()
    assert step(step(state, Silent()), Released()) == Binding()
