"""Alarms on three nodes: the runtime that carries calls carries them over every death."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from cluster.machine import Machine
from cluster.runtime import Shard
from gateway_mgmt.alarms import effects, inputs
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.view import alarms, history
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import TrunkState, is_news
from loadtest.sim.counting import SHARD, Counting
from loadtest.sim.member import Member
from tests.cluster import world
from tests.gateway_mgmt.world import PLAN


class Cluster(Counting):
    """Brings messages to receivers that outlive every node, and confirms them when they came."""

    def __init__(self, seed: int) -> None:
        self.received: list[tuple[str, str, str]] = []
        self.trunks: dict[str, TrunkState] = {}
        self.answer_ms = 5
        super().__init__(Random(seed), nodes=3, journal="off", ops=0, check=True)
        self.network.is_lossy = self.network.doubles = self.network.holds_up = False
        self.wait(lambda: len(self.active.state().in_sync) == 3)

    def machine(self, member: Member) -> Machine:
        return Alarms(PLAN)

    def served(self, member: Member, *, lost: bool) -> None:
        member.post(inputs.Configure(PLAN))

    def perform(self, member: Member, effect: Any) -> None:
        match effect:
            case effects.Deliver(key, notice):
                self.received.append((notice.id, notice.what, notice.path))
                sent = inputs.Sent("noc", (key,))
                member.process.at(self.answer_ms, lambda: member.post(sent))
            case effects.Tell(shard, _, state):
                if is_news(self.trunks.get(state.trunk), state):
                    self.trunks[state.trunk] = state
                told = inputs.Told(shard, state.trunk, state.order)
                member.process.at(5, lambda: member.post(told))

    @property
    def active(self) -> Shard:
        self.wait(lambda: self.leader(SHARD) is not None)
        return world.leader(self).shard

    def wait(self, fact: Callable[[], bool]) -> None:
        world.wait(self, fact, 30_000)

    def see(self, state: bool, *conditions: str, path: str) -> None:
        seen = tuple(Observation(path, name, state, self.now_ms) for name in conditions)
        answers: list[bool] = []
        assert self.active.handle(inputs.Observed(seen))
        self.active.when_committed(answers.append)
        self.wait(lambda: answers == [True])

    def kill_active(self) -> None:
        old = world.leader(self)
        self.crash(old.node, 500)
        self.wait(lambda: self.leader(SHARD) not in (None, old))

    def once(self) -> list[tuple[str, str]]:
        """What the receivers make of it: one message for each id."""
        return [(what, path) for _, what, path in dict.fromkeys(self.received)]


@pytest.mark.parametrize("seed", range(5))
def test_every_stage_of_an_alarm_outlives_its_node(seed: int) -> None:
    cluster = Cluster(seed)
    begun_ms = cluster.now_ms
    cluster.see(True, "los", "lof", path="tg1/3")
    assert cluster.trunks["carrier-b"].state == "out"
    cluster.kill_active()  # while it soaks
    cluster.wait(lambda: bool(cluster.received))
    assert 2_500 <= cluster.now_ms - begun_ms <= 3_500
    machine = cluster.active.machine
    assert isinstance(machine, Alarms)
    (shown,) = [one for one in alarms(cluster.active.records, machine.book) if one.told]
    cluster.active.handle(inputs.Acknowledge(shown.id, "anna", "a digger"))
    world.run(cluster, 100)
    cluster.kill_active()  # while it stands
    machine = cluster.active.machine
    assert isinstance(machine, Alarms)
    first, second = alarms(cluster.active.records, machine.book)
    assert (first.condition, first.acked_by, first.note) == ("los", "anna", "a digger")
    assert (second.condition, second.by) == ("lof", "los@tg1/3")
    cluster.see(False, "los", path="tg1/3")
    cluster.kill_active()  # while it holds
    cluster.wait(lambda: len(cluster.once()) == 3)
    cluster.kill_active()  # and what waited for it has been told
    cluster.see(False, "lof", path="tg1/3")
    cluster.wait(lambda: len(cluster.once()) == 4)
    assert cluster.once() == [
        ("raised", "tg1/3"),
        ("cleared", "tg1/3"),
        ("raised", "tg1/3"),
        ("cleared", "tg1/3"),
    ]
    cluster.wait(lambda: cluster.trunks["carrier-b"].state == "in")
    assert {entry.what for entry in history(cluster.active.records)} == {
        *("raised", "acknowledged", "cleared", "told", "routing")
    }
    cluster.settle()
    assert cluster.rules.broken == []


def test_a_message_that_nobody_confirmed_comes_again_by_the_same_id() -> None:
    cluster = Cluster(1)
    cluster.answer_ms = 3_600_000
    cluster.see(True, "los", path="tg1/3")
    cluster.wait(lambda: len(cluster.received) == 1)
    cluster.kill_active()
    cluster.wait(lambda: len(cluster.received) == 2)
    assert len(cluster.once()) == 1
