"""Far nodes, and nodes that hold no copy: what they do while others lead, and when nobody does."""

from cluster.core import KEPT_MS
from cluster.roles import Follower
from cluster.store import decode_key, node_of
from tests.cluster.simulate import Process, Simulation
from tests.cluster.toy import Add

FOR_EVER = 10_000_000


def calm(*, nodes: int, far: int = 0) -> tuple[Simulation, Process]:
    """A shard that is led, with all its copies."""
    sim = Simulation(1, nodes=nodes, far=far)
    sim.lossy = False
    sim.run_to(3_000)
    leader = sim.leader()
    assert leader is not None
    return sim, leader


def holders(sim: Simulation) -> list[str]:
    key = decode_key(sim.store[1])
    assert key is not None
    return sorted(map(node_of, key.in_sync))


def test_who_holds_no_copy_does_not_think_that_the_shard_waits_for_anybody() -> None:
    sim, leader = calm(nodes=5)
    sim.run_to(30_000)
    assert sim.leader() is leader
    assert holders(sim) == ["a", "b", "c"]
    assert "shard waits" not in sim.counts


def test_the_copy_of_a_far_node_is_kept_as_long_as_nobody_leads() -> None:
    sim, leader = calm(nodes=3, far=1)
    leader.shard.handle(Add("x", "one"))
    sim.run_to(sim.now_ms + 500)
    assert holders(sim) == ["a", "b"]
    for node in ("a", "b"):
        sim.crash(node, FOR_EVER)
    sim.run_to(sim.now_ms + 2 * KEPT_MS)
    far = sim.alive["c"]
    assert isinstance(far.shard.core.role, Follower)
    assert far.shard.core.role.stuck
    assert far.shard.core.log.at_end() != {}

    answers: list[str] = []
    far.shard.core.promote(answers.append)
    sim.run_to(sim.now_ms + 500)
    assert answers == [""]
    assert far.shard.serving
    assert far.shard.records["x"].done == ["one"]


def test_a_shard_is_not_promoted_under_the_eyes_of_its_active() -> None:
    sim, leader = calm(nodes=3, far=1)
    answers: list[str] = []
    leader.shard.core.promote(answers.append)
    sim.alive["c"].shard.core.promote(answers.append)
    assert answers == [
        "it leads already, or is about to",
        "somebody may lead it yet; ask again in a moment",
    ]


def test_a_standby_that_becomes_a_far_node_leaves_in_sync_and_follows_on() -> None:
    sim, leader = calm(nodes=3)
    assert holders(sim) == ["a", "b", "c"]
    for process in sim.alive.values():
        process.shard.core.far = ("c",)
    sim.run_to(sim.now_ms + 500)
    assert holders(sim) == ["a", "b"]
    leader.shard.handle(Add("x", "one"))
    sim.run_to(sim.now_ms + 500)
    assert leader.shard.core.far_behind() == {"c": 0}
    assert sim.alive["c"].shard.core.log.end == leader.shard.core.log.end
