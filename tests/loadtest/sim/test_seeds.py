"""The cluster under simulated faults: no seed breaks a rule, and each is repeated by its number."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import pytest

from loadtest.io.seeds import SeedsStuck, run_seed, run_seeds
from loadtest.sim.faults import JOURNALED, KINDS, Faults
from loadtest.sim.play import CORE, TAIL, WHOLE, Summary
from tests.loadtest.sim.planted import CORE as BUGS
from tests.loadtest.sim.planted import planted

KEEPLINE = Path(sys.executable).with_name("keepline")
CORE_SEEDS = 2_000
WHOLE_SEEDS = 200


def eventful(found: Summary) -> None:
    """Something happened in it: leaders changed, and everything went wrong that can."""
    assert found.takeovers > 3 * found.seeds
    assert all(found.faults[kind] > found.seeds // 100 for kind in (*KINDS, *JOURNALED))
    assert found.happened["came back"] > found.seeds // 10
    assert found.happened["promoted"] > found.seeds // 50
    assert found.happened["journal torn"] > found.seeds // 20
    assert found.happened["lost"] > 0


def test_no_seed_of_the_core_breaks_a_rule() -> None:
    found = run_seeds(CORE, first=1, seeds=CORE_SEEDS)
    assert found.failed == []
    assert found.seeds == CORE_SEEDS
    eventful(found)
    assert found.faults["copies move"] > found.seeds // 20


def test_no_seed_of_the_whole_runtime_breaks_a_rule() -> None:
    found = run_seeds(WHOLE, first=1, seeds=WHOLE_SEEDS)
    assert found.failed == []
    assert found.seeds == WHOLE_SEEDS
    eventful(found)
    assert found.answered > 15 * found.seeds
    assert found.crossed > 5 * found.seeds
    assert found.faults["media restarts"] > found.seeds // 10
    assert found.faults["database away"] > found.seeds // 10


@pytest.mark.parametrize("level", [CORE, WHOLE])
def test_a_seed_repeats_itself_to_the_byte_whatever_the_order_of_sets(level: str) -> None:
    logs = [
        subprocess.run(
            [KEEPLINE, "sim", "--seed", "3", *(["--core"] if level == CORE else [])],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert logs[0].count(b"\n") > 500
    assert logs[0] == logs[1]


@pytest.mark.parametrize("level", [CORE, WHOLE])
def test_the_log_changes_nothing_in_a_run(level: str) -> None:
    told, silent = run_seed(5, level, is_told=True), run_seed(5, level)
    assert told.log
    assert not silent.log
    assert (told.events, told.counts) == (silent.events, silent.counts)


@pytest.mark.parametrize("level", [CORE, WHOLE])
def test_a_run_in_which_nothing_happens_has_failed(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faults, "plan", lambda faults, count, *, from_ms, to_ms: None)
    assert "nobody took over" in run_seed(1, level).violation


def test_a_seed_that_breaks_a_rule_comes_with_the_end_of_its_log() -> None:
    with planted(BUGS["effects before commit"]):
        outcome = run_seed(1, CORE)
    assert outcome.violation
    assert 0 < len(outcome.log) <= TAIL


def test_seeds_run_until_the_time_is_over() -> None:
    seen: list[int] = []
    found = run_seeds(
        CORE,
        first=10,
        seeds=None,
        seconds=0.5,
        workers=2,
        on_outcome=lambda outcome: seen.append(outcome.seed),
    )
    assert found.seeds == len(seen) > 0
    assert sorted(seen) == list(range(10, 10 + len(seen)))


def test_who_is_killed_leaves_no_process_that_runs_on(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        sim = subprocess.Popen([KEEPLINE, "sim", "--core", "--seconds", "300"], stdout=out)
    try:
        until(lambda: len(children(sim.pid)) >= 2)
        workers = children(sim.pid)
    finally:
        sim.kill()
        sim.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def children(pid: int) -> list[int]:
    """Its processes that run Python's pool: the workers and what counts their semaphores."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_process_that_is_ended_ends_the_run_with_one_line() -> None:
    raised: list[str] = []

    def run() -> None:
        try:
            run_seeds(CORE, first=1, seeds=None, seconds=60, workers=1, on_outcome=ended)
        except SeedsStuck as error:
            raised.append(str(error))

    def ended(outcome: object) -> None:
        for child in active_children():
            child.kill()

    _in_thread(run)
    assert raised == ["a process that ran the seeds was ended"]


def _in_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
