"""What a shard with a journal does when it is alone with it."""

from loadtest.sim.counting import SHARD
from loadtest.sim.process import Process
from loadtest.sim.toy import Add
from tests.cluster.world import leader, run, standbys, wait, world


def test_a_store_that_knows_less_than_a_journal_is_not_believed() -> None:
    sim, _ = world(nodes=1, journal="async")
    found = [sim.store.keys[SHARD]]
    for _ in range(3):
        sim.crash("n1", 50)
        run(sim, 3_000)
        found.append(sim.store.keys[SHARD])
    assert leader(sim).shard.core.epoch == 4
    for older in (found[1], (0, None)):
        sim.crash("n1", 50)
        sim.store.keys[SHARD] = older
        run(sim, 5_000)
        assert sim.store.keys[SHARD] == older
        assert sim.leader(SHARD) is None
        assert sim.log[-1][2] == "store is behind"
    sim.crash("n1", 50)
    sim.store.keys[SHARD] = found[-1]
    run(sim, 3_000)
    assert sim.leader(SHARD) is not None


def test_a_copy_that_came_as_a_snapshot_knows_the_shards_time() -> None:
    """Its journal said that it was the beginning of time: who was promoted with it went back."""
    sim, active = world(nodes=2, journal="async")
    run(sim, 30_000)
    active.post(Add("x", "one"))
    run(sim, 100)
    stamp_ms = active.shard.records["x"].stamp_ms
    (standby,) = standbys(sim, active)
    sim.crash(standby.node, 50)
    wait(sim, lambda: standby.node in sim.alive)
    (standby,) = standbys(sim, active)
    known: list[int] = []
    look = sim.rules.look

    def look_on(process: Process) -> None:
        look(process)
        if not known and standby.shard.core.log.birth:  # it may be all that is left from here on
            known.append(standby.shard.core.clock.last_ms)

    sim.rules.look = look_on  # type: ignore[method-assign]
    wait(sim, lambda: bool(known))
    assert known[0] >= stamp_ms
