"""Far nodes, and nodes that hold no copy: what they do while others lead, and when nobody does."""

from cluster.core import KEPT_MS
from cluster.roles import Follower
from cluster.store import node_of
from loadtest.sim.counting import SHARD, Counting
from loadtest.sim.toy import Add
from tests.cluster.world import key, leader, run, world

FOR_EVER = 10_000_000


def holders(sim: Counting) -> list[str]:
    return sorted(map(node_of, key(sim).in_sync))


def test_who_holds_no_copy_does_not_think_that_the_shard_waits_for_anybody() -> None:
    sim, active = world(nodes=5)
    run(sim, 30_000)
    assert leader(sim) is active
    assert holders(sim) == ["n1", "n2", "n3"]
    assert "shard waits" not in sim.counts


def test_the_copy_of_a_far_node_is_kept_as_long_as_nobody_leads() -> None:
    sim, active = world(nodes=3, far=1)
    active.post(Add("x", "one"))
    run(sim, 500)
    assert holders(sim) == ["n1", "n2"]
    for node in ("n1", "n2"):
        sim.crash(node, FOR_EVER)
    run(sim, 2 * KEPT_MS)
    far = sim.alive["n3"].members[SHARD]
    assert isinstance(far.shard.core.role, Follower)
    assert far.shard.core.role.stuck
    assert far.shard.core.log.at_end() != {}

    answers: list[str] = []
    sim.operator.promote(far, answers.append)
    run(sim, 500)
    assert answers == [""]
    assert far.shard.serving
    assert far.shard.records["x"].done == ["one"]


def test_a_shard_is_not_promoted_under_the_eyes_of_its_active() -> None:
    sim, active = world(nodes=3, far=1)
    answers: list[str] = []
    active.shard.core.promote(answers.append)
    sim.alive["n3"].members[SHARD].shard.core.promote(answers.append)
    assert answers == [
        "it leads already, or is about to",
        "somebody may lead it yet; ask again in a moment",
    ]


def test_a_standby_that_becomes_a_far_node_leaves_in_sync_and_follows_on() -> None:
    sim, active = world(nodes=3)
    assert holders(sim) == ["n1", "n2", "n3"]
    sim.far = ("n3",)
    for member in sim.members(SHARD):
        member.shard.core.far = sim.far
    run(sim, 500)
    assert holders(sim) == ["n1", "n2"]
    active.post(Add("x", "one"))
    run(sim, 500)
    assert active.shard.core.far_behind() == {"n3": 0}
    assert sim.alive["n3"].members[SHARD].shard.core.log.end == active.shard.core.log.end
