"""Alarms on three nodes: the runtime that carries calls carries them over every death."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.machine import Machine
from cluster.runtime import Shard
from gateway_mgmt.alarms import effects, inputs
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.view import alarms, history
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import TrunkState, take
from tests.cluster.simulate import Process, Simulation
from tests.gateway_mgmt.world import PLAN


class Node(Process):
    """Brings messages to receivers that outlive it, and confirms them when they have come."""

    sim: "Cluster"

    machine: Callable[[], Machine] = staticmethod(lambda: Alarms(PLAN))

    def perform(self, effect: Any) -> None:
        self.performed.append(effect)
        match effect:
            case effects.Deliver(key, notice):
                self.sim.received.append((notice.id, notice.what, notice.path))
                self.at(self.sim.answer_ms, lambda: self.post(inputs.Sent("noc", (key,))))
            case effects.Tell(shard, _, state):
                take(self.sim.trunks, state)
                self.at(5, lambda: self.post(inputs.Told(shard, state.trunk, state.order)))

    def post(self, event: Any) -> None:
        self.shard.handle(event)

    def serving(self, *, lost: bool) -> None:
        super().serving(lost=lost)
        self.at(0, lambda: self.post(inputs.Configure(PLAN)))


class Cluster(Simulation):
    process = Node

    def __init__(self, seed: int) -> None:
        self.received: list[tuple[str, str, str]] = []
        self.trunks: dict[str, TrunkState] = {}
        self.answer_ms = 5
        super().__init__(seed, ops=0, check=True)
        self.lossy = False
        self.wait(lambda: len(self.active.state().in_sync) == 3)

    @property
    def active(self) -> Shard:
        self.wait(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        return leader.shard

    def wait(self, fact: Callable[[], bool], within_ms: int = 30_000) -> None:
        end_ms = self.now_ms + within_ms
        while not fact():
            assert self.now_ms < end_ms
            self.run_to(self.now_ms + 1)
            self.now_ms += 1

    def see(self, state: bool, *conditions: str, path: str) -> None:
        seen = tuple(Observation(path, name, state, self.now_ms) for name in conditions)
        answers: list[bool] = []
        assert self.active.handle(inputs.Observed(seen))
        self.active.when_committed(answers.append)
        self.wait(lambda: answers == [True])

    def kill_active(self) -> None:
        leader = self.leader()
        assert leader is not None
        self.crash(leader.node, back_ms=500)
        self.wait(lambda: self.leader() is not None)

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
    cluster.run_to(cluster.now_ms + 100)
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
    cluster.finish()


def test_a_message_that_nobody_confirmed_comes_again_by_the_same_id() -> None:
    cluster = Cluster(1)
    cluster.answer_ms = 3_600_000
    cluster.see(True, "los", path="tg1/3")
    cluster.wait(lambda: len(cluster.received) == 1)
    cluster.kill_active()
    cluster.wait(lambda: len(cluster.received) == 2)
    assert len(cluster.once()) == 1
