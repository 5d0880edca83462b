"""The protocol and the runtime under simulated faults, and the simulator under planted bugs.

KEEPLINE_SIM_SEEDS: how many seeds (default 300), KEEPLINE_SIM_FIRST: the first one.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from cluster import core, membership
from cluster.clock import ShardClock
from cluster.copy import Copy
from cluster.core import Core
from cluster.log import Log
from cluster.messages import Ack, Append
from cluster.replicas import Replicas
from cluster.runtime import Held, Shard
from cluster.store import Unknown, encode_key
from tests.cluster.simulate import Simulation, Violation

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("KEEPLINE_SIM_SEEDS", "300"))
FIRST = int(os.environ.get("KEEPLINE_SIM_FIRST", "1"))


def test_no_seed_breaks_a_rule() -> None:
    counts: dict[str, int] = {}
    for seed in range(FIRST, FIRST + SEEDS):
        simulation = Simulation(seed, nodes=3 if seed % 6 else 5)
        try:
            simulation.run()
        except Exception as error:
            raise AssertionError(f"seed {seed} (KEEPLINE_SIM_FIRST={seed}): {error}") from error
        for what, count in simulation.counts.items():
            counts[what] = counts.get(what, 0) + count
    # Something happened in it: leaders changed, and shards were lost and found again.
    assert counts["served"] > 3 * SEEDS
    assert counts["deposed"] > SEEDS
    assert counts["crash"] > SEEDS
    if SEEDS >= 100:
        assert counts["lost"] > 0


def test_a_seed_repeats_itself() -> None:
    one, two = Simulation(7), Simulation(7)
    one.run()
    two.run()
    assert one.trace == two.trace
    assert one.steps == two.steps


def test_a_seed_repeats_itself_whatever_the_order_of_sets() -> None:
    code = "from tests.cluster.simulate import *; s = Simulation(11); s.run(); print(s.trace)"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            },
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(outputs[0]) > 500
    assert outputs[0] == outputs[1]


def _shrink_without_asking(core: Any, role: Any, in_sync: Any, pending: Any) -> None:
    if len(in_sync) < len(role.key.in_sync):
        role.key = type(role.key)(role.key.epoch, role.key.active, in_sync)
        core._advance(role)
    else:
        _honest_change(core, role, in_sync, pending)


_honest_change = Core._change_members


def _guess(outside: Any, rev: int, wanted: Any, decided: Any) -> None:
    """An unknown outcome is taken for a failure."""

    def answered(answer: Any) -> None:
        if isinstance(answer, Unknown):
            decided(False, rev, wanted)
        else:
            decided(hasattr(answer, "rev") and not hasattr(answer, "value"), answer.rev, wanted)

    outside.cas(rev, encode_key(wanted), answered)


def _grow_in_one_step(role: Any, log: Any) -> int:
    """Acknowledgements do not wait for a joiner before it is in in_sync."""
    pending, role.pending = role.pending, ()
    try:
        return _honest_acknowledged(role, log)
    finally:
        role.pending = pending


_honest_acknowledged = membership.acknowledged


def _cut_at_once(copy: Any, epoch: int) -> Any:
    """A standby throws its tail away before the new active has replaced it."""
    copy.log.cut(copy.log.commit)
    return _honest_position(copy, epoch)


_honest_position = Copy.position


def _keep_the_tail(copy: Any, message: Append) -> Any:
    """A standby keeps its own batch where the new active has another one."""
    own = copy.log.since(message.previous)
    if own and copy.receiving is None:
        kept = own[: len(message.batches)]
        message = Append(
            message.epoch,
            message.previous,
            message.previous_epoch,
            message.commit,
            message.stamp_ms,
            [*kept, *message.batches[len(kept) :]],
        )
    return _honest_append(copy, message)


_honest_append = Copy.on_append


def _hold_nothing(shard: Any) -> Held:
    """Effects leave before their batch is committed."""
    held = Held(shard.core.log.commit)
    shard._held.append(held)
    return held


def _snapshot_in_flight(replicas: Any, peer: Any, now_ms: int) -> None:
    """A joiner counts as whole before its snapshot is."""
    _honest_begin(replicas, peer, now_ms)
    if peer.sending is not None:
        peer.match = peer.sending.base
        peer.sending = None
        peer.next = peer.match + 1


_honest_begin = Replicas._begin


def _acknowledge_a_gap(copy: Any, message: Append) -> Any:
    """A standby acknowledges the end of a message whose beginning it lacks."""
    _honest_append(copy, message)
    return Ack(message.epoch, copy.member, message.previous + len(message.batches))


def _stay_with_nothing(copy: Copy) -> None:
    """An active that handed over drops its records and is still called in sync."""
    copy.log = Log()


PLANTED: dict[str, tuple[type | ModuleType, str, Callable[..., Any]]] = {
    "anyone takes over": (Core, "_may_take", lambda core, key: True),
    "acknowledge early": (membership, "acknowledged", lambda role, log: log.end),
    "shrink without asking": (Core, "_change_members", _shrink_without_asking),
    "accept an old epoch": (Core, "_is_stale", lambda core, epoch: False),
    "guess an unknown outcome": (core, "change_key", _guess),
    "grow in one step": (membership, "acknowledged", _grow_in_one_step),
    "cut the tail at once": (Copy, "position", _cut_at_once),
    "keep a tail that the active lacks": (Copy, "on_append", _keep_the_tail),
    "effects before commit": (Shard, "_holder", _hold_nothing),
    "whole before the snapshot is": (Replicas, "_begin", _snapshot_in_flight),
    "acknowledge over a gap": (Copy, "on_append", _acknowledge_a_gap),
    "stay in sync with nothing": (Copy, "lead_no_more", _stay_with_nothing),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str) -> None:
    where, name, instead = PLANTED[bug]
    with patch.object(where, name, instead):
        assert _first_caught() is not None, f"200 seeds did not find: {bug}"


def test_a_restart_under_the_same_incarnation_is_found() -> None:
    assert _first_caught(same_name=True) is not None


def _first_caught(seeds: int = 200, **how: Any) -> int | None:
    for seed in range(1, seeds + 1):
        try:
            Simulation(seed, **how).run()
        except (Violation, AssertionError, KeyError, AttributeError):
            return seed
    return None


def test_shard_time_never_goes_back() -> None:
    active, standby = ShardClock(5_000), ShardClock(900_000)
    stamps = [active.now(5_000 + n * 50) for n in range(20)]
    delays = [40, 3, 90, 5, 1, 60, 7, 8, 9, 2, 30, 4, 5, 6, 70, 8, 9, 1, 1, 200]
    for n, (stamp, delay) in enumerate(zip(stamps, delays, strict=True)):
        standby.heard(stamp, 900_000 + n * 50 + delay)
    standby.lead(900_000 + 20 * 50)
    # The least delayed beat took 1 ms: no way back, and no jump.
    assert standby.now(900_000 + 20 * 50) == active.now(5_000 + 20 * 50) - 1
