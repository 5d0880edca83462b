"""Many simulated seeds on every core: what `keepline sim` runs.

Here the generator is made that one seed is: whatever happens in a run follows from it.
"""

import ctypes
import gc
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import count, islice
from multiprocessing import get_context

from msgspec.structs import replace

from loadtest.sim.play import Outcome, Summary, play, summary

AHEAD = 4
"""So many seeds wait for each process."""
STUCK_S = 600.0
"""When no seed has come to its end for so long, none will."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent has died."""
FRESH_MAX = 1 << 31
"""Fresh seeds begin anywhere below."""


class SeedsStuck(Exception):
    """The processes that run the seeds have died or stand still."""


def run_seed(seed: int, level: str, *, is_told: bool = False) -> Outcome:
    """One seed, in this process."""
    return play(seed, level, random.Random(seed), is_told=is_told)


def fresh() -> int:
    """A first seed that nobody has tried."""
    return secrets.randbelow(FRESH_MAX)


def run_seeds(
    level: str,
    *,
    first: int,
    seeds: int | None,
    seconds: float | None = None,
    workers: int | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Summary:
    """`seeds` of them (None: without end) for at most `seconds`, as they come to their ends.

    Raises SeedsStuck.
    """
    began_s = time.monotonic()

    def outcomes() -> Iterator[Outcome]:
        for outcome in _each(level, first, seeds, seconds, workers or os.cpu_count() or 1):
            on_outcome(outcome)
            yield outcome

    found = summary(level, outcomes(), 0)
    elapsed_s = time.monotonic() - began_s
    return replace(found, seconds=round(elapsed_s, 1))


def _each(
    level: str, first: int, seeds: int | None, seconds: float | None, workers: int
) -> Iterator[Outcome]:
    ends_s = None if seconds is None else time.monotonic() + seconds
    numbers = islice(count(first), seeds)
    # "spawn": a fork of a process with threads may find their locks taken for ever.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (os.getpid(),)) as pool:
        try:
            running: set[Future[Outcome]] = set()
            while True:
                is_over = ends_s is not None and time.monotonic() > ends_s
                while not is_over and len(running) < AHEAD * workers:
                    seed = next(numbers, None)
                    if seed is None:
                        break
                    running.add(pool.submit(run_seed, seed, level))
                if not running:
                    return
                done, running = wait(running, STUCK_S, FIRST_COMPLETED)
                if not done:
                    raise SeedsStuck(f"no seed has come to its end for {STUCK_S:.0f} s")
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise SeedsStuck("a process that ran the seeds was ended") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(parent: int) -> None:
    """A process of the pool: Ctrl-C is its parent's business, and a run leaves much behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # however the parent ends
    if os.getppid() != parent:
        os._exit(1)  # it has ended already
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
