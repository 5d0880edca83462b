"""A shard of alarms in virtual time: receivers, a shard of calls, and a script that says all.

A script has a line for what happens and a line for each message that must come; any other message
is a fault. Seconds count from its begin.

    at 2.2 los on tg1/3              (off, unknown; several: los,lof)
    at 9 ack los tg1/3 by anna
    at 1 window night tg1 until 60
    at 5 end night
    within 4.7 5.0 raised los tg1/3  (flapping, cleared)
    within 2.2 2.2 carrier-a out 0   (what a shard of calls hears: in, partial, out; channels)

Every step goes through bytes. `Death` takes the node away at one step, before its commit or after
so many of its effects; another one goes on with what was committed. What was not committed happens
again, as a poll or a person would repeat it.
"""

import heapq
from dataclasses import dataclass
from typing import Any

from cluster.machine import Step, Timer
from gateway_mgmt.alarms import effects, inputs
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.records import Alarm, Notice, Plan
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import Trunk, TrunkState, is_news

WALL_MS = 1_700_000_000_000
ANSWER_MS = 5
SPANS = {"tg1/1": 30, "tg1/2": 30}
PLAN = Plan(
    gateways={"tg1": {}, "tg2": {}},
    trunks={
        "carrier-a": Trunk(SPANS, "A", numbers=("4001", "4002"), queues=("support",)),
        "carrier-b": Trunk({"tg1/3": 30}, "B", numbers=("4003",), queues=("sales",)),
    },
    receivers=("noc",),
    shards=("main",),
)
IS_ON = {"on": True, "off": False, "unknown": None}


@dataclass(frozen=True)
class Death:
    step: int
    effects: int = -1
    """So many of the step's effects were performed; -1: it was not committed."""


class World:
    def __init__(self, plan: Plan = PLAN, death: Death | None = None) -> None:
        self.plan = plan
        self.death = death
        self.now_ms = 0
        self.epoch = 1
        self.steps = 0
        self.effects_of: list[int] = []
        """How many effects each step had."""
        self.records: dict[str, Any] = {}
        self.committed: dict[str, bytes] = {}
        self.received: dict[str, tuple[int, Notice]] = {}
        """By id: when, and what."""
        self.repeats = 0
        self.answers = True
        """Do the receivers confirm?"""
        self.trunks: dict[str, TrunkState] = {}
        self.heard: list[tuple[int, TrunkState]] = []
        self.looks: list[str] = []
        self.boots: list[int] = []
        self._due: list[tuple[int, int, Any]] = []
        self._n = 0
        self._spent: dict[str, int] = {}
        self.machine = Alarms(plan)
        self.post(inputs.Configure(plan, 1))

    # Steps.

    def step_now(self) -> Step:
        self.steps += 1
        return Step(
            self.records,
            shard="alarms",
            epoch=self.epoch,
            n=self.steps,
            now_ms=self.now_ms + 5_000,
            wall_ms=WALL_MS + self.now_ms,
            random=b"x" * 32,
        )

    def post(self, event: Any) -> None:
        tx = self.step_now()
        dies = self.death is not None and self.death.step == self.steps
        self.machine.step(tx, event)
        if dies and self.death is not None and self.death.effects < 0:
            self.death = None
            self.takeover()
            self.post(event)
            return
        self.commit(tx)
        self.effects_of.append(len(tx.effects))
        left = self.death.effects if dies and self.death is not None else len(tx.effects)
        for effect in tx.effects[:left]:
            self.perform(effect)
        if dies:
            self.death = None
            self.takeover()

    def commit(self, tx: Step) -> None:
        before = {key: data for key, data in self.committed.items() if key not in tx._changed}
        for key in tx._changed:
            if key in self.records:
                before[key] = self.machine.encode(key, self.records[key])
        for key, record in self.records.items():
            assert before[key] == self.machine.encode(key, record), f"{key} changed unreported"
        self.committed = before
        assert_index_is_derived(self.machine, self.records)

    def takeover(self) -> None:
        """Another node goes on with the committed bytes; the answers under way reach it too."""
        self.epoch += 1
        self._spent.clear()
        self.machine = Alarms(self.plan)
        self.records = {
            key: self.machine.decode(key, data) for key, data in sorted(self.committed.items())
        }
        self.machine.open(self.records)
        for key in list(self.records):
            tx = self.step_now()
            self.machine.redrive(tx, key)
            self.commit(tx)
            for effect in tx.effects:
                self.perform(effect)

    def perform(self, effect: Any) -> None:
        match effect:
            case effects.Deliver(key, notice):
                if notice.id in self.received:
                    self.repeats += 1
                else:
                    copy = self.machine.decode(key, self.machine.encode(key, notice))
                    self.received[notice.id] = (self.now_ms, copy)
                if self.answers:
                    for receiver in notice.waiting:
                        self.later(ANSWER_MS, inputs.Sent(receiver, (key,)))
            case effects.Tell(shard, _, state):
                if is_news(self.trunks.get(state.trunk), state):
                    self.trunks[state.trunk] = state
                    self.heard.append((self.now_ms, state))
                self.later(ANSWER_MS, inputs.Told(shard, state.trunk, state.order))
            case effects.StartPoller(boots):
                self.boots.append(boots)
            case effects.Look(gateway):
                self.looks.append(gateway)
            case effects.Again(observations):
                for seen in observations:
                    self.later(0, inputs.Observed((seen,)))
            case _:
                raise TypeError(effect)

    # Time.

    def later(self, ms: int, event: Any) -> None:
        self._n += 1
        heapq.heappush(self._due, (self.now_ms + ms, self._n, event))

    def run_until(self, until_ms: int) -> None:
        while True:
            timers = [
                (deadline - 5_000, key)
                for key, record in self.records.items()
                if (deadline := self.machine.deadline(key, record)) is not None
                and self._spent.get(key) != deadline
            ]
            timer_ms, key = min(timers, default=(until_ms + 1, ""))
            if self._due and self._due[0][0] <= min(timer_ms, until_ms):
                at, _, event = heapq.heappop(self._due)
                self.now_ms = max(self.now_ms, at)
                self.post(event)
            elif timer_ms <= until_ms:
                self.now_ms = max(self.now_ms, timer_ms)
                self._spent[key] = timer_ms + 5_000
                self.post(Timer(key, timer_ms + 5_000))
            else:
                break
        self.now_ms = until_ms

    # What happens.

    def see(self, conditions: str, state: str, path: str) -> None:
        """One poll."""
        self.post(
            inputs.Observed(
                tuple(
                    Observation(path, condition, IS_ON[state], WALL_MS + self.now_ms)
                    for condition in conditions.split(",")
                )
            )
        )

    def alarm(self, condition: str, path: str) -> Alarm:
        found: Alarm = self.records[f"alarm/{condition}/{path}"]
        return found

    def do(self, words: list[str]) -> None:
        match words:
            case ["ack", condition, path, "by", who]:
                self.post(inputs.Acknowledge(self.alarm(condition, path).id, who))
            case ["window", id, prefix, "until", until]:
                end_ms = WALL_MS + round(float(until) * 1000)
                self.post(inputs.SetWindow(id, prefix, WALL_MS + self.now_ms, end_ms, "anna"))
            case ["end", id]:
                self.post(inputs.EndWindow(id, "anna"))
            case [conditions, ("on" | "off" | "unknown") as state, path]:
                self.see(conditions, state, path)
            case _:
                raise ValueError(" ".join(words))

    @property
    def messages(self) -> list[tuple[int, str]]:
        return [
            (at, f"{notice.what} {notice.condition} {notice.path}")
            for at, notice in self.received.values()
        ]

    @property
    def routes(self) -> list[tuple[int, str]]:
        """What the shard of calls heard, without the first state of each trunk."""
        return [
            (at, f"{state.trunk} {state.state} {state.channels}") for at, state in self.heard if at
        ]


def assert_index_is_derived(machine: Alarms, records: dict[str, Any]) -> None:
    """The indexes are what a node that opens the records would make of them."""
    fresh = Alarms(Plan())
    fresh.open(records)
    for name in ("active", "alarms", "muted", "out", "windows", "notices"):
        assert getattr(machine.book, name) == getattr(fresh.book, name), name
    assert list(machine.book.notices) == list(fresh.book.notices)


def play(script: str, plan: Plan = PLAN, death: Death | None = None, end: float = 0) -> World:
    """The script, and an hour on: just the messages that it expects came."""
    happens: list[tuple[int, list[str]]] = []
    expected: list[tuple[int, int, str]] = []
    for line in script.splitlines():
        match line.partition("#")[0].split():
            case []:
                pass
            case ["at", second, *words]:
                happens.append((round(float(second) * 1000), words))
            case ["within", first, last, *words]:
                low, high = (round(float(second) * 1000) for second in (first, last))
                expected.append((low, high, " ".join(words)))
            case _:
                raise ValueError(line)
    world = World(plan, death)
    for at, words in happens:
        world.run_until(at)
        world.do(words)
    world.run_until(round(end * 1000) or world.now_ms + 3_600_000)
    judge(expected, [*world.messages, *world.routes])
    assert all(notice.alarm for _, notice in world.received.values())
    return world


def judge(expected: list[tuple[int, int, str]], came: list[tuple[int, str]]) -> None:
    missing = sorted(expected)
    surplus = []
    for at, what in sorted(came):
        for one in missing:
            if one[2] == what and one[0] <= at <= one[1]:
                missing.remove(one)
                break
        else:
            surplus.append((at, what))
    assert (missing, surplus) == ([], [])


def deaths(quiet: World) -> list[Death]:
    """A death at every point of what happened there."""
    found = []
    for step, emitted in enumerate(quiet.effects_of, start=1):
        found += [Death(step, effects) for effects in range(-1, emitted + 1)]
    return found
