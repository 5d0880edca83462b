"""What the simulation has found, each with its story."""

from cluster.store import decode_key
from tests.cluster.simulate import Process, Simulation
from tests.cluster.test_runtime import commit, successor, wait, world
from tests.cluster.toy import Add


def in_sync(sim: Simulation) -> tuple[str, ...]:
    key = decode_key(sim.store[1])
    assert key is not None
    return key.in_sync


def time_ms(process: Process) -> int:
    return process.shard.core.clock.now(process.now_ms())


def test_a_standby_that_joins_an_idle_shard_knows_its_time() -> None:
    """It was taken in when it had the snapshot. With nothing to commit nobody had told it the time,
    and when it led a moment later time began anew: every timer of every call was far away."""
    for seed in range(1, 21):
        sim, active = world(nodes=2, seed=seed)
        active.shard.handle(Add("x", "one"))
        commit(sim, active)
        sim.run_to(sim.now_ms + 5_000)
        (standby,) = (process for process in sim.alive.values() if process is not active)
        sim.crash(standby.node, 20)
        wait(sim, lambda: len(in_sync(sim)) == 1)  # noqa: B023
        wait(sim, lambda: len(in_sync(sim)) == 2)  # noqa: B023
        before_ms = time_ms(active)

        sim.crash(active.node, 60_000)
        assert before_ms <= time_ms(successor(sim, active)) <= before_ms + 1_000


def test_a_standby_forgets_the_time_of_a_shard_that_was_lost() -> None:
    """Every in-sync copy had died and the shard had begun anew. A standby that had lived through
    that still mapped the old time, and when it led, time leapt ahead by all of the first life."""
    sim, active = world(nodes=2)
    sim.run_to(sim.now_ms + 20_000)
    (standby,) = (process for process in sim.alive.values() if process is not active)
    sim.cut[standby.node, active.node] = None
    wait(sim, lambda: len(in_sync(sim)) == 1)
    sim.crash(active.node, 50)
    sim.cut.clear()
    wait(sim, lambda: sim.leader() is not None)
    anew = sim.leader()
    assert anew is not None
    assert anew.node == active.node
    wait(sim, lambda: len(in_sync(sim)) == 2)
    before_ms = time_ms(anew)
    assert before_ms < 5_000

    sim.crash(anew.node, 60_000)
    assert successor(sim, anew) is standby
    assert before_ms <= time_ms(standby) <= before_ms + 2_000


def test_an_active_that_nothing_reaches_does_not_keep_its_shard_to_itself() -> None:
    """Found between network namespaces. The store did what it asked, that it be alone in sync, and
    its answer was lost: it led no more, as it never knew, and nobody else was allowed to."""
    for seed in range(1, 21):
        sim, active = world(nodes=3, seed=seed)
        wait(sim, lambda: len(in_sync(sim)) == 3)  # noqa: B023
        others = [node for node in sim.names if node != active.node]
        sim.cut = {(node, active.node): None for node in others}
        sim.store_mute[active.node] = None
        sim.run_to(sim.now_ms + 500)  # it is heard, until nothing of it is acknowledged for long
        sim.cut |= {(active.node, node): None for node in others}

        assert successor(sim, active).node in others


def test_a_new_active_takes_nobody_in_who_lacks_what_its_predecessor_acknowledged() -> None:
    """It held everything, but did not know how much of it was committed: until its barrier is, its
    commit index is an old one. A joiner up to that index was taken in; had it led next, what lay
    between would have been lost."""
    sim, active = world(nodes=3)
    heir, other = (process for process in sim.alive.values() if process is not active)
    assert [heir.node, other.node] == ["b", "c"]
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    sim.run_to(sim.now_ms + 200)
    active.shard.handle(Add("y", "two"))
    wait(sim, lambda: len(active.performed) == 2)  # nobody else knows yet that it is committed
    acknowledged = active.shard.core.log.commit
    assert 0 < heir.shard.core.log.commit < acknowledged <= heir.shard.core.log.end
    sim.paused["c"] = sim.now_ms + 60_000  # the barrier waits for a member that does not answer
    sim.crash("a", 10)
    wait(sim, lambda: "a" in sim.alive)
    joiner = sim.alive["a"]
    wait(sim, lambda: joiner.shard.core.log.end > 0)
    sim.cut["b", "a"] = None  # it has the snapshot, and not what follows

    for _ in range(200):
        sim.run_to(sim.now_ms + 1)
        sim.now_ms += 1
        assert heir.shard.state().role == "active"
        if joiner.shard.core.member in in_sync(sim):
            assert joiner.shard.core.log.end >= acknowledged
    sim.cut.clear()
    wait(sim, lambda: joiner.shard.core.member in in_sync(sim))
    assert "y" in joiner.shard.core.log.at_end()
