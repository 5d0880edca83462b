"""Who takes part in a run of the whole runtime: a small centre on two shards, drawn people.

More callers than agents can serve at once, so that there are always some who wait, ring and talk.
"""

from dataclasses import dataclass, replace

from calls.centre import Agent, Centre, Number, Queue, Shard
from loadtest import scenario
from loadtest.agent import AgentPlan
from loadtest.caller import CallerPlan
from loadtest.options import AgentAddress, Options, Span
from loadtest.sim.draw import Draw
from sip.uri import Address

SIP: dict[str, Address] = {"s1": ("127.0.0.1", 5060), "s2": ("127.0.0.2", 5060)}
"""Where each shard's calls arrive."""
QUEUES = {"s1": "support", "s2": "sales"}
NUMBERS = {
    "4001": ("support", 0),
    "4002": ("sales", 0),
    "4003": ("support", 1),
    "4004": ("sales", 1),
}
"""A number's queue and priority."""
DIALLED = ("4001", "4002", "4001", "4002", "4001", "4002", "4003", "4004")
CALLERS = 36
RATE = 2.4
"""Calls a second."""
PHONES = "127.0.0.3"
FIRST_PORT = 7_001


@dataclass(frozen=True)
class Crowd:
    """The centre, its agents' phones in the order of their names, and whoever calls it."""

    centre: Centre
    agents: tuple[tuple[AgentPlan, Address], ...]
    callers: tuple[CallerPlan, ...]


def crowd(draw: Draw) -> Crowd:
    """Everybody in one run."""
    phones: dict[str, AgentAddress] = {}
    declared: dict[str, Agent] = {}
    for queue in QUEUES.values():
        for _ in range(2 + draw.randrange(2)):
            n = len(phones)
            name, address = str(1001 + n), (PHONES, FIRST_PORT + n)
            phones[name] = AgentAddress(name, address)
            uri = f"sip:{name}@{address[0]}:{address[1]}"
            declared[name] = Agent(name=f"Desk {n}", phone=uri, queues=(queue,))
    options = Options(
        numbers=DIALLED,
        calls=CALLERS,
        rate=RATE,
        agents=tuple(phones.values()),
        talk=Span(500, 4_000),
        patience=Span(4_000, 30_000),
        ring=Span(100, 1_200),
        decline_rate=0.25,
        ignore_rate=0.07,
        hold_rate=0.4,
        digits="42",
        offerless_rate=0.1,
    )
    people = scenario.people(options, draw)
    return Crowd(
        _centre(draw, declared),
        tuple((plan, phones[plan.name].address) for plan in people.agents),
        tuple(replace(plan, priority=NUMBERS[plan.number][1]) for plan in people.callers),
    )


def _centre(draw: Draw, agents: dict[str, Agent]) -> Centre:
    prompt = draw.choice(("", "welcome.wav"))
    ring_ms = draw.choice((0, 0, 700))
    return Centre(
        numbers={
            number: Number(queue=queue, prompt=prompt, priority=priority, ring_ms=ring_ms)
            for number, (queue, priority) in NUMBERS.items()
        },
        queues={
            queue: Queue(
                shard=shard,
                offer_timeout_ms=draw.choice((2_500, 5_000)),
                wrap_up_ms=draw.choice((0, 400, 1_500)),
                no_answer_pause_ms=draw.choice((400, 1_500)),
            )
            for shard, queue in QUEUES.items()
        },
        agents=agents,
        shards={shard: Shard(sip=sip) for shard, sip in SIP.items()},
    )
