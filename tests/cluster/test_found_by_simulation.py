"""What the simulation has found, each with its story."""

from cluster.roles import Active
from cluster.store import node_of
from loadtest.sim.counting import SHARD
from loadtest.sim.member import Member
from loadtest.sim.toy import Add
from tests.cluster.world import commit, key, leader, run, standbys, successor, wait, world


def time_ms(member: Member) -> int:
    return member.shard.time_ms()


def knows(member: Member, node: str) -> bool:
    """Is it active, and has this node told it where it stands?"""
    role = member.shard.core.role
    return isinstance(role, Active) and role.replicas.peers[node].match > 0


def test_a_standby_that_joins_an_idle_shard_knows_its_time() -> None:
    """It was taken in when it had the snapshot. With nothing to commit nobody had told it the time,
    and when it led a moment later time began anew: every timer of every call was far away."""
    for seed in range(1, 21):
        sim, active = world(nodes=2, seed=seed)
        active.shard.handle(Add("x", "one"))
        commit(sim, active)
        run(sim, 5_000)
        (standby,) = standbys(sim, active)
        sim.crash(standby.node, 20)
        wait(sim, lambda: key(sim).in_sync == ("n1:1", "n2:2"))  # noqa: B023
        before_ms = time_ms(active)

        sim.crash(active.node, 60_000)
        assert before_ms <= time_ms(successor(sim, active)) <= before_ms + 1_000


def test_a_standby_forgets_the_time_of_a_shard_that_was_lost() -> None:
    """Every in-sync copy had died and the shard had begun anew. A standby that had lived through
    that still mapped the old time, and when it led, time leapt ahead by all of the first life."""
    sim, active = world(nodes=2)
    run(sim, 20_000)
    (standby,) = standbys(sim, active)
    sim.network.cut(standby.node, active.node)
    wait(sim, lambda: len(key(sim).in_sync) == 1)
    sim.crash(active.node, 50)
    sim.network.heal()
    wait(sim, lambda: sim.leader(SHARD) is not None)
    anew = leader(sim)
    assert anew.node == active.node
    wait(sim, lambda: len(key(sim).in_sync) == 2)
    before_ms = time_ms(anew)
    assert before_ms < 5_000

    sim.crash(anew.node, 60_000)
    assert successor(sim, anew) is standby
    assert before_ms <= time_ms(standby) <= before_ms + 2_000


def test_an_active_that_nothing_reaches_does_not_keep_its_shard_to_itself() -> None:
    """Found between network namespaces. The store did what it asked, that it be alone in sync, and
    its answer was lost: it led no more, as it never knew, and nobody else was allowed to."""
    for seed in range(1, 21):
        sim, active = world(seed=seed)
        others = [node for node in sim.names if node != active.node]
        for other in others:
            sim.network.cut(other, active.node)
        sim.store.mute[active.node] = None
        run(sim, 500)  # it is heard, until nothing of it is acknowledged for long
        for other in others:
            sim.network.cut(active.node, other)

        assert successor(sim, active).node in others


def test_a_new_active_takes_nobody_in_who_lacks_what_its_predecessor_acknowledged() -> None:
    """It held everything, but did not know how much of it was committed: until its barrier is, its
    commit index is an old one. A standby that came back up to that index was taken in; had it led
    next, what lay between would have been lost."""
    sim, active = world(nodes=4)
    members = {member.node: member for member in sim.members(SHARD)}
    heir, back = members["n2"], members["n3"]
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    run(sim, 200)
    sim.store.away["n3"] = None
    for other in ("n1", "n2", "n4"):
        sim.network.cut("n3", other, breaks_ms=50)
        sim.network.cut(other, "n3", breaks_ms=50)
    wait(sim, lambda: [node_of(name) for name in key(sim).in_sync] == ["n1", "n2", "n4"])
    active.shard.handle(Add("y", "two"))
    wait(sim, lambda: len(active.performed) == 2)  # nobody else knows yet that it is committed
    acknowledged = active.shard.core.log.commit
    assert back.shard.core.log.end == heir.shard.core.log.commit < acknowledged

    sim.pause("n4", 60_000)  # the barrier waits for a member that does not answer
    sim.crash("n1", 60_000)
    sim.network.heal()
    wait(sim, lambda: knows(heir, "n3"))
    sim.network.cut("n2", "n3")  # it has told where it stands, and gets nothing more
    for _ in range(150):
        run(sim, 1)
        assert back.shard.core.log.end < acknowledged
        assert back.shard.core.member not in key(sim).in_sync
    sim.network.heal()
    wait(sim, lambda: back.shard.core.member in key(sim).in_sync)
    assert "y" in back.shard.core.log.at_end()


def test_who_dies_with_the_shard_just_begun_anew_does_not_bring_back_what_he_held_before() -> None:
    """He had been out of sync when the shard stopped, and went on from its snapshot. He died when
    he had the epoch and his journal had none of that: his old copy, under the same name, came back
    as all there is, and what had been acknowledged since was gone."""
    sim, active = world(nodes=2, journal="async")
    (standby,) = standbys(sim, active)
    run(sim, 500)  # his journal is whole
    sim.network.cut(standby.node, active.node)
    sim.network.cut(active.node, standby.node)
    sim.store.away[standby.node] = None
    wait(sim, lambda: len(key(sim).in_sync) == 1)
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    active.process.leave(60_000)
    wait(sim, lambda: not key(sim).active)
    sim.store.away.clear()
    wait(sim, lambda: node_of(key(sim).active) == standby.node)
    sim.crash(standby.node, 50)
    run(sim, 5_000)

    assert sim.leader(SHARD) is None
    assert sim.counts["shard waits"] == 1


def test_who_dies_while_he_is_promoted_does_not_go_on_with_less_by_himself() -> None:
    """He had won the epoch that a person gave him, and his journal had the same name and records:
    it came back as if nothing were missing, and nobody was told that something was."""
    sim, active = world(nodes=2, journal="async")
    (standby,) = standbys(sim, active)
    run(sim, 500)
    sim.network.cut(standby.node, active.node)
    wait(sim, lambda: len(key(sim).in_sync) == 1)
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    sim.crash(active.node, 60_000)
    wait(sim, lambda: "shard waits" in sim.counts)
    epoch = key(sim).epoch
    sim.operator.promote(standby, lambda why: None)
    wait(sim, lambda: key(sim).epoch > epoch)
    sim.crash(standby.node, 50)
    run(sim, 5_000)

    assert sim.leader(SHARD) is None
    assert sim.counts["shard waits"] == 2


def test_a_journal_knows_the_shards_time_though_its_process_had_been_stopped() -> None:
    """Woken up, it wrote a batch with Unix time of now and shard time of before, and died: when the
    shard came back from that, time had gone back by as long as the process had stood still."""
    sim, active = world(nodes=1, journal="async")
    core = active.shard.core

    def write_and_die() -> None:
        core.append([])
        core.flush()
        sim.at(0, lambda: sim.crash("n1", 50))

    active.process.at(1_000, write_and_die)  # the first thing that it does when it wakes up
    run(sim, 990)
    began_ms, before_ms = sim.now_ms, time_ms(active)
    sim.pause("n1", 2_500)
    time_after_ms = time_ms(successor(sim, active)) - before_ms
    assert abs(time_after_ms - (sim.now_ms - began_ms)) < 100


def test_who_has_left_a_snapshot_writes_nothing_more_though_the_store_has_not_answered() -> None:
    """It was paused in between, and asked by an empty batch who leads when it went on. Alone, it
    committed that by itself, to a log that others had gone on from."""
    sim, active = world(nodes=1)
    core = active.shard.core
    active.process.leave(60_000)
    wait(sim, lambda: not key(sim).active)
    assert isinstance(core.role, Active), "the answer is under way"
    end = core.log.end
    told: list[bool] = []

    active.shard.woke_late(2_500)
    active.shard.when_committed(told.append)

    assert core.log.end == end
    assert told == [False]
