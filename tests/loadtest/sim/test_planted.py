"""The simulator finds what it is for: each planted bug within 200 seeds."""

import random
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from loadtest.sim.calling import Calling
from loadtest.sim.counting import Counting
from loadtest.sim.rules import Uneventful
from tests.loadtest.sim.planted import CALLS, CORE, planted

SEEDS = 200
DEADLINE_S = 600

Catch = tuple[int, str] | None
"""The first seed that found it, and as what."""


def first_catch(level: str, bug: str) -> Catch:
    """In a process of its own: nothing else runs with the bug."""
    is_core = level == "core"
    with planted((CORE if is_core else CALLS)[bug]):
        for seed in range(1, SEEDS + 1):
            draw = random.Random(seed)
            world = Counting(draw) if is_core else Calling(draw)
            try:
                world.run()
            except Uneventful:
                continue
            except Exception as error:  # noqa: BLE001 - however a bug shows
                return seed, f"{type(error).__name__}: {error}"
    return None


@pytest.fixture(scope="module")
def catches() -> Iterator[dict[tuple[str, str], Future[Catch]]]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        bugs = [("core", bug) for bug in CORE] + [("calls", bug) for bug in CALLS]
        yield {(level, bug): pool.submit(first_catch, level, bug) for level, bug in bugs}


@pytest.mark.parametrize("bug", CORE)
def test_a_bug_in_the_core_is_found(
    bug: str, catches: dict[tuple[str, str], Future[Catch]]
) -> None:
    assert catches["core", bug].result(DEADLINE_S), f"{SEEDS} seeds did not find: {bug}"


@pytest.mark.parametrize("bug", CALLS)
def test_a_bug_in_the_whole_runtime_is_found(
    bug: str, catches: dict[tuple[str, str], Future[Catch]]
) -> None:
    assert catches["calls", bug].result(DEADLINE_S), f"{SEEDS} seeds did not find: {bug}"
