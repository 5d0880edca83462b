"""Copies that go where they are wanted, on a fake clock."""

from collections.abc import Callable

from cluster.core import KEPT_MS, WATCH_MS
from cluster.roles import Active, Found
from cluster.store import node_of
from loadtest.sim.counting import SHARD, Counting
from loadtest.sim.member import Member
from loadtest.sim.toy import Add
from tests.cluster.world import commit, leader, run, successor, wait, world


def holders(active: Member) -> set[str]:
    return {node_of(member) for member in active.shard.state().in_sync}


def place(sim: Counting, active: Member, *nodes: str) -> None:
    active.shard.core.wanted = nodes
    wait(sim, lambda: holders(active) == set(nodes), 10_000)


def five() -> tuple[Counting, Member, list[str], list[str]]:
    """Five nodes, the active, those that hold a copy besides it, and those that do not."""
    sim, active = world(nodes=5)
    held = holders(active)
    others = [name for name in sim.names if name not in held]
    return sim, active, sorted(held - {active.node}), others


def test_copies_are_made_where_they_are_wanted_and_dropped_where_not() -> None:
    sim, active, held, others = five()
    active.shard.handle(Add("x", "one"))
    place(sim, active, active.node, *held, *others)
    place(sim, active, active.node, *others)
    active.shard.handle(Add("x", "two"))
    commit(sim, active)
    sim.crash(active.node, 60_000)
    after = successor(sim, active)
    assert after.node in others
    assert after.shard.records["x"].value == 2


def test_a_commit_does_not_wait_for_a_copy_that_is_dropped() -> None:
    sim, active, held, _ = five()
    active.shard.core.wanted = (active.node, held[0])
    for n in range(40):
        began_ms = sim.now_ms
        active.shard.handle(Add("x", f"op{n}"))
        wait(sim, lambda: len(active.performed) == n + 1)  # noqa: B023
        assert sim.now_ms - began_ms < 100
    assert holders(active) == {active.node, held[0]}


def test_who_holds_no_copy_that_counts_reads_the_key_rarely_and_drops_what_it_has() -> None:
    sim, active, held, _ = five()
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    place(sim, active, active.node, held[0])
    dropped = sim.alive[held[1]].members[SHARD]
    member = dropped.shard.core.member
    run(sim, 2_000)
    reads: list[int] = []
    honest = dropped.read

    def read(done: Callable[[Found | None], None]) -> None:
        reads.append(sim.now_ms)
        honest(done)

    dropped.read = read  # type: ignore[method-assign]
    run(sim, 10 * WATCH_MS)
    assert 8 <= len(reads) <= 11
    assert dropped.shard.core.log.birth
    run(sim, KEPT_MS)
    assert not dropped.shard.core.log.birth
    assert dropped.shard.core.member != member
    place(sim, active, active.node, held[1])  # and is given it again
    assert "x" in dropped.shard.core.log.records


def test_a_node_that_held_nothing_still_finds_out_when_all_who_did_are_gone() -> None:
    sim, active, held, others = five()
    for name in (active.node, *held):
        sim.crash(name, 60_000)
    wait(sim, lambda: sim.leader(SHARD) is not None, 20_000)
    assert leader(sim).node in others


def test_a_node_may_come_and_leave_while_a_shard_is_led() -> None:
    sim, active = world(nodes=4)
    names = list(sim.names)
    (spare,) = [name for name in names if name not in holders(active)]
    few = [name for name in names if name != spare]
    for name in few:
        sim.alive[name].members[SHARD].shard.core.know(few)
    assert spare not in active.shard.core.peers
    for name in few:
        sim.alive[name].members[SHARD].shard.core.know(names)
    place(sim, active, active.node, spare)
    active.shard.core.know(few)  # and it is gone from the cluster
    active.shard.core.wanted = tuple(few)
    wait(sim, lambda: holders(active) == set(few))
    role = active.shard.core.role
    assert isinstance(role, Active)
    assert spare not in role.replicas.peers
