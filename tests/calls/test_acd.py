"""Who gets which call: order, idleness, and never two for one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from calls.acd.engine import CANDIDATES_SHOWN, Acd, Offer

QUEUES = ("sales", "support", "vip")
AGENTS = {"1001": ("support",), "1002": ("support", "sales"), "1003": ("sales", "vip", "support")}


@dataclass
class Waiting:
    queue: str
    priority: int
    arrived_ms: int
    order: int
    tried: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, int, int]:
        return (-self.priority, self.arrived_ms, self.order)


@dataclass
class Floor:
    """A call centre that keeps lists only, beside the engine, and offers as `calls.flow` does."""

    acd: Acd = field(default_factory=lambda: Acd(QUEUES))
    waiting: dict[str, Waiting] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    offered: dict[str, str] = field(default_factory=dict)
    calls: dict[str, Waiting] = field(default_factory=dict)
    now_ms: int = 1_000

    def wait(self, call: str, found: Waiting) -> None:
        self.acd.wait(
            call,
            queue=found.queue,
            priority=found.priority,
            arrived_ms=found.arrived_ms,
            order=found.order,
        )
        self.waiting[call] = self.calls[call] = found
        self.settle_call(call)

    def settle_call(self, call: str) -> None:
        found = self.waiting[call]
        able = [
            (since_ms, agent)
            for agent, since_ms in self.idle.items()
            if found.queue in AGENTS[agent] and found.tried.get(agent, 0) <= self.now_ms
        ]
        offer = self.acd.for_call(
            call, strategy="longest_idle", tried=found.tried, now_ms=self.now_ms
        )
        assert (offer is not None) == bool(able)
        if offer is not None:
            assert offer.agent == min(able)[1]
            assert offer.candidates[0][0] == offer.agent
            assert len(offer.candidates) == min(len(able), CANDIDATES_SHOWN)
            self.take(offer)

    def settle_agent(self, agent: str) -> None:
        open_to = {
            call: found
            for call, found in self.waiting.items()
            if found.queue in AGENTS[agent] and found.tried.get(agent, 0) <= self.now_ms
        }
        offer = self.acd.for_agent(
            agent,
            strategy_of=lambda queue: "longest_idle",
            tried_by=self.tried_by,
            now_ms=self.now_ms,
        )
        assert (offer is not None) == bool(open_to)
        if offer is not None:
            assert offer.call == min(open_to, key=lambda call: open_to[call].place)
            mine = self.waiting[offer.call]
            same = [one for one in self.waiting.values() if one.queue == mine.queue]
            assert offer.ahead == sum(one.place < mine.place for one in same)
            self.take(offer)

    def tried_by(self, call: str) -> Mapping[str, int]:
        return self.calls[call].tried

    def take(self, offer: Offer) -> None:
        assert offer.call in self.waiting
        assert offer.agent in self.idle
        assert offer.call not in self.offered.values()
        assert offer.agent not in self.offered
        self.acd.leave(offer.call)
        self.acd.busy(offer.agent)
        del self.waiting[offer.call], self.idle[offer.agent]
        self.offered[offer.agent] = offer.call

    def free(self, agent: str) -> None:
        self.idle[agent] = self.now_ms
        self.acd.idle(agent, queues=AGENTS[agent], idle_ms=self.now_ms)
        self.settle_agent(agent)

    def gone(self, agent: str) -> None:
        self.idle.pop(agent, None)
        self.acd.busy(agent)

    def declined(self, agent: str) -> None:
        """He does not take it: the caller comes back to his place."""
        call = self.offered.pop(agent)
        self.calls[call].tried[agent] = self.now_ms + 5_000
        self.wait(call, self.calls[call])

    def check(self) -> None:
        for queue in QUEUES:
            line = [call for call, one in self.waiting.items() if one.queue == queue]
            assert self.acd.calls(queue) == sorted(line, key=lambda call: self.waiting[call].place)
            assert self.acd.waiting(queue) == len(line)
        for found in self.waiting.values():
            for agent in self.idle:
                allowed = found.tried.get(agent, 0) <= self.now_ms
                assert not (allowed and found.queue in AGENTS[agent])


ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("call", "call", "free", "free", "away", "decline", "end", "leave", "later")
        ),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTS)
def test_nobody_waits_while_somebody_is_idle_and_everybody_keeps_his_place(
    acts: list[tuple[str, int, int]],
) -> None:
    floor = Floor()
    for n, (what, which, how) in enumerate(acts):
        floor.now_ms += which * 700
        agent = tuple(AGENTS)[which]
        match what:
            case "call":
                floor.wait(f"call-{n}", Waiting(QUEUES[which], how, floor.now_ms // 1_000, n))
            case "free" if agent not in floor.offered:
                floor.free(agent)
            case "away":
                floor.gone(agent)
            case "decline" if agent in floor.offered:
                floor.declined(agent)
            case "end" if agent in floor.offered:
                del floor.offered[agent]
                floor.free(agent)
            case "leave" if floor.waiting:
                call = tuple(floor.waiting)[how % len(floor.waiting)]
                del floor.waiting[call]
                floor.acd.leave(call)
            case "later":
                floor.now_ms += 5_000
        # What a timer does for those whose time to be offered again has come.
        for call in tuple(floor.waiting):
            if call in floor.waiting:
                floor.settle_call(call)
        floor.check()


def test_a_caller_who_does_not_wait_may_leave_and_a_busy_agent_be_busy() -> None:
    acd = Acd(QUEUES)
    acd.leave("nobody")
    acd.busy("1001")
    assert acd.calls("support") == []
    assert acd.waiting("nowhere") == 0


def test_the_offer_says_who_else_could_have_had_it_and_who_was_ahead() -> None:
    acd = Acd(QUEUES)
    for n in range(8):
        acd.idle(f"{1001 + n}", queues=("support",), idle_ms=100 - n)
    for n, call in enumerate(("first", "second")):
        acd.wait(call, queue="support", priority=0, arrived_ms=n, order=n)
    tried = {f"{1001 + n}": 9_000 for n in range(1, 8)}
    offer = acd.for_call("second", strategy="longest_idle", tried={}, now_ms=1_000)
    assert offer is not None
    assert (offer.agent, offer.ahead) == ("1008", 1)
    assert [agent for agent, _ in offer.candidates] == ["1008", "1007", "1006", "1005", "1004"]
    only = acd.for_call("second", strategy="longest_idle", tried=tried, now_ms=1_000)
    assert only is not None
    assert only.candidates == [("1001", 100)]
