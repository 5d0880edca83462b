"""Journals, total loss, failing disks and promotion under simulated faults, and planted bugs.

KEEPLINE_SIM_SEEDS and KEEPLINE_SIM_FIRST as in `test_simulation`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from cluster import comeback, journal
from cluster.answers import Answers
from cluster.journaling import Journal
from cluster.log import EVERYTHING
from cluster.store import decode_key, node_of
from tests.cluster.journaled import Journaled
from tests.cluster.simulate import Simulation, Violation
from tests.cluster.test_simulation import FIRST, SEEDS


def run(seed: int, **how: Any) -> Journaled:
    simulation = Journaled(seed, nodes=3 if seed % 6 else 5, **how)
    try:
        simulation.run()
    except Exception as error:
        why = f"seed {seed} (KEEPLINE_SIM_FIRST={seed}): {error}"
        raise AssertionError(why) from error
    return simulation


def test_no_seed_with_journals_breaks_a_rule() -> None:
    counts: dict[str, int] = {}
    for seed in range(FIRST, FIRST + SEEDS):
        for what, count in run(seed).counts.items():
            counts[what] = counts.get(what, 0) + count
    # Something happened in it: every copy died and came back, or waited for a person.
    assert counts["came back"] > SEEDS
    if SEEDS >= 100:
        assert counts["promoted"] > SEEDS // 10
        assert counts["journal not kept"] > SEEDS // 10
        assert counts["journal torn"] > SEEDS // 2
    assert "lost" not in counts


def test_far_nodes_are_never_in_sync_and_never_lead_by_themselves() -> None:
    promoted = 0
    for seed in range(FIRST, FIRST + SEEDS // 3):

        class Far(Journaled):
            """Looks at each key."""

            def changed(self, value: bytes) -> None:
                super().changed(value)
                key = decode_key(value)
                assert key is not None
                if any(node_of(member) in self.far for member in key.in_sync[1:]):
                    raise Violation(f"a far node is in sync: {key}")
                if node_of(key.active) in self.far and node_of(key.active) not in self.asked:
                    raise Violation(f"a far node leads: {key}")

        simulation = Far(seed, nodes=4, far=1)
        try:
            simulation.run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        promoted += simulation.counts.get("promoted", 0)
    if SEEDS >= 100:
        assert promoted > 0


def test_a_store_that_knows_less_than_a_journal_is_not_believed() -> None:
    sim = Simulation(1, nodes=1, journal="async")
    sim.lossy = False
    sim.run_to(2_000)
    stores = [sim.store]
    for _ in range(3):
        sim.crash("a", 50)
        sim.run_to(sim.now_ms + 3_000)
        leader = sim.leader()
        assert leader is not None
        stores.append(sim.store)
    assert leader is not None
    assert leader.shard.core.epoch == 4
    for older in (stores[1], (0, None)):
        sim.crash("a", 50)
        sim.store = older
        sim.run_to(sim.now_ms + 5_000)
        assert sim.store == older
        assert sim.leader() is None
        assert sim.trace[-1][2] == "store is behind"
    sim.crash("a", 50)
    sim.store = stores[-1]
    sim.run_to(sim.now_ms + 3_000)
    assert sim.leader() is not None


def _tail_later(kept: Any, file: Any, entry: Any) -> None:
    """A batch is acknowledged before it is in memory that outlives the process."""
    has_tails, file.has_tails = file.has_tails, False
    _honest_put(kept, file, entry)
    file.has_tails = has_tails


_honest_put = Journal._put


def _give_up_silently(kept: Any, why: str) -> None:
    """A journal that is given up goes on to claim that it lacks nothing."""
    with patch.object(kept._storage, "remove_tails", lambda tails: None):
        _honest_give_up(kept, why)


_honest_give_up = Journal._give_up


def _believe(number: int, begin: Any, tails: Any, boot_id: str) -> Any:
    """What may be missing at the end of a journal is not looked for."""
    return _honest_continued(number, begin, tails, boot_id)[0], ""


_honest_continued = journal._continued


PLANTED: dict[str, tuple[type | ModuleType, str, Any]] = {
    "acknowledge before the tail is written": (Journal, "_put", _tail_later),
    "acknowledge before the disk has it": (Journal, "held", property(lambda _: EVERYTHING)),
    "say more than the journal has": (Answers, "say", lambda _, answer, held, is_whole: answer),
    "come back with an incomplete journal": (journal, "_continued", _believe),
    "come back whatever it lacks": (
        comeback,
        "_lacks_nothing",
        lambda left, key: left.member in key.in_sync,
    ),
    "come back without having been in sync": (
        comeback,
        "_lacks_nothing",
        lambda left, key: left.flaw == "",
    ),
    "a journal that was given up claims to be whole": (Journal, "_give_up", _give_up_silently),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str) -> None:
    where, name, instead = PLANTED[bug]
    with patch.object(where, name, instead):
        assert _first_caught() is not None, f"200 seeds did not find: {bug}"


def _first_caught(make: Callable[[int], Journaled] = Journaled) -> int | None:
    for seed in range(1, 201):
        try:
            make(seed).run()
        except Violation:
            return seed
    return None
