"""A simulated cluster in which nothing goes wrong but what a test does to it."""

from collections.abc import Callable
from random import Random

from cluster.store import ShardKey, decode_key
from loadtest.sim.counting import SHARD, Counting
from loadtest.sim.member import Member
from tests.cluster.toy import Toy


class Quiet(Counting):
    """Nobody confirms what he was told, unless a test does."""

    def confirm(self, key: str, op: str) -> None:
        pass


def world(
    nodes: int = 3, *, far: int = 0, journal: str = "off", check: bool = True, seed: int = 1
) -> tuple[Counting, Member]:
    """A cluster without faults, and its active, everybody in sync who is to be."""
    sim = Quiet(Random(seed), nodes=nodes, far=far, journal=journal, toy=Toy, check=check)
    sim.network.is_lossy = sim.network.doubles = sim.network.holds_up = False
    sim.bugs_are_planted = True
    wait(sim, lambda: sim.leader(SHARD) is not None)
    active = leader(sim)
    wait(sim, lambda: len(active.shard.state().in_sync) == min(3, nodes - far))
    return sim, active


def wait(sim: Counting, fact: Callable[[], bool], within_ms: int = 5_000) -> None:
    end_ms = sim.now_ms + within_ms
    while not fact():
        assert sim.now_ms < end_ms
        run(sim, 1)


def run(sim: Counting, for_ms: int) -> None:
    """Let so much time pass."""
    sim.at(for_ms, lambda: None)
    sim.run_to(sim.now_ms + for_ms + 1)


def commit(sim: Counting, active: Member) -> None:
    """Wait until what stands in the records is committed."""
    answers: list[bool] = []
    active.shard.when_committed(answers.append)
    wait(sim, lambda: answers == [True])


def leader(sim: Counting) -> Member:
    found = sim.leader(SHARD)
    assert found is not None
    return found


def successor(sim: Counting, old: Member) -> Member:
    wait(sim, lambda: sim.leader(SHARD) not in (None, old))
    return leader(sim)


def standbys(sim: Counting, active: Member) -> list[Member]:
    return [member for member in sim.members(SHARD) if member is not active]


def key(sim: Counting) -> ShardKey:
    found = decode_key(sim.store.keys[SHARD][1])
    assert found is not None
    return found
