"""Who takes part: people drawn at random, or a mix that brings a cluster into a known state.

A mix says how many callers shall wait, talk, be held and ring at the moment of a fault. It relies
on this: callers who come while an agent is free are offered to one each, so with T+H+R agents of
whom H hold their first call for long and R let their first offer ring long, the first T+H+R callers
become T talking, H held and R ringing, and whoever comes later waits. Talkers go on until they are
released (`loadtest.effects.Release`), everybody then talks for a short drawn time, so all calls
come to their end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

from loadtest.agent import AgentPlan, OfferPlan
from loadtest.caller import CallerPlan
from loadtest.options import AgentAddress, BadOption, Options, Span

OFFERS_DRAWN = 64
"""An agent's answers to that many offers are drawn; then they repeat."""

SETTLE_MS = 2_500
"""Callers who shall wait come so long after the last who shall not."""

LONG_RING_MS = 14_000
"""A ringing that outlasts preparation and fault, and ends within an offer_timeout of 20 s."""

LONG_HOLD_MS = 16_000
"""Likewise a hold, which begins HOLD_AFTER_MS after the agent picked up."""
HOLD_AFTER_MS = 500

PATIENT_MS = 600_000

DECLINES = (486, 603, 480)


class Draw(Protocol):
    """What is used of random.Random; the seed is the caller's."""

    def random(self) -> float: ...
    def randint(self, a: int, b: int) -> int: ...


@dataclass(frozen=True)
class People:
    """Everybody who takes part; agents in the order of their addresses."""

    callers: tuple[CallerPlan, ...]
    agents: tuple[AgentPlan, ...]


@dataclass(frozen=True)
class Mix:
    """How many callers shall wait, talk, be held by their agent, and ring at an agent's phone."""

    waiting: int = 0
    talking: int = 0
    ringing: int = 0
    held: int = 0

    def __add__(self, other: "Mix") -> "Mix":
        return Mix(
            self.waiting + other.waiting,
            self.talking + other.talking,
            self.ringing + other.ringing,
            self.held + other.held,
        )

    def __str__(self) -> str:
        """As `mix` reads it."""
        counts = (f"{field.name}={getattr(self, field.name)}" for field in fields(self))
        return ",".join(counts)

    @property
    def agents(self) -> int:
        """How many agents it takes."""
        return self.talking + self.ringing + self.held

    @property
    def callers(self) -> int:
        return self.waiting + self.agents


def waiting(n: int) -> Mix:
    """`n` callers hear music and wait."""
    return Mix(waiting=n)


def talking(n: int) -> Mix:
    """`n` callers talk to `n` agents, until they are released."""
    return Mix(talking=n)


def ringing(n: int) -> Mix:
    """`n` callers are being offered to `n` agents, whose phones ring."""
    return Mix(ringing=n)


def mix(text: str) -> Mix:
    """ "talking=100,ringing=20,waiting=100" as a mix. Raises BadOption."""
    counts = dict.fromkeys((field.name for field in fields(Mix)), 0)
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in counts or not number.isdecimal() or len(number) > 5:
            raise BadOption(f"{text!r} is no scenario: write talking=100,ringing=20,waiting=100")
        counts[name] += int(number)
    return Mix(**counts)


def people(options: Options, draw: Draw) -> People:
    """The people of `options`. Raises BadOption."""
    if (options.calls or options.scenario) and not options.numbers:
        raise BadOption("there are calls but no number to dial")
    if options.hangup not in ("caller", "agent", "random"):
        raise BadOption(f"{options.hangup!r} cannot hang up: caller, agent or random can")
    if options.rate <= 0:
        raise BadOption("the rate must be above 0 calls/s")
    if options.scenario:
        return _mixed(mix(options.scenario), options, draw)
    there = len(options.agents) - options.absent
    agents = tuple(
        replace(
            _agent(agent, options, draw),
            reachable=place < there,
            busy=there - options.busy <= place < there,
        )
        for place, agent in enumerate(options.agents)
    )
    return People(callers(options, draw, count=options.calls), agents)


def callers(
    options: Options, draw: Draw, *, count: int, first: int = 0, after_ms: int = 0
) -> tuple[CallerPlan, ...]:
    """`count` drawn callers who come at the rate of `options`, the first at `after_ms`."""
    return tuple(
        replace(
            _caller(first + n, options, draw),
            starts_ms=after_ms + round(n * 1_000 / options.rate),
        )
        for n in range(count)
    )


def _caller(place: int, options: Options, draw: Draw) -> CallerPlan:
    holds = draw.random() < options.hold_rate / 2
    return CallerPlan(
        number=options.numbers[place % len(options.numbers)],
        patience_ms=_drawn(options.patience, draw),
        talk_ms=_drawn(options.talk, draw),
        hangs_up=options.hangup != "agent",
        digits=options.digits,
        hold_ms=draw.randint(300, 1_000) if holds else None,
        held_ms=draw.randint(500, 1_500),
        offerless=draw.random() < options.offerless_rate,
    )


def _agent(agent: AgentAddress, options: Options, draw: Draw) -> AgentPlan:
    return AgentPlan(agent.name, tuple(_offer(options, draw) for _ in range(OFFERS_DRAWN)))


def _offer(options: Options, draw: Draw) -> OfferPlan:
    fate = draw.random()
    declines = fate < options.decline_rate
    holds = draw.random() < options.hold_rate / 2
    return OfferPlan(
        ring_ms=_drawn(options.ring, draw),
        decline=DECLINES[draw.randint(0, len(DECLINES) - 1)] if declines else 0,
        ignores=options.decline_rate <= fate < options.decline_rate + options.ignore_rate,
        talk_ms=_drawn(options.talk, draw),
        hangs_up=options.hangup != "caller",
        hold_ms=draw.randint(300, 1_000) if holds else None,
        held_ms=draw.randint(500, 1_500),
    )


def _drawn(span: Span, draw: Draw) -> int:
    return draw.randint(span.min_ms, span.max_ms)


def _mixed(wanted: Mix, options: Options, draw: Draw) -> People:
    if len(options.agents) != wanted.agents:
        raise BadOption(
            f"the scenario takes {wanted.agents} agents, there are {len(options.agents)}"
        )
    rings_long = _spread(wanted)
    others = [place for place, is_long in enumerate(rings_long) if not is_long]
    hold = others[: wanted.held]
    agents = [
        _first_offer(
            _agent(agent, options, draw), rings_long=rings_long[place], holds=place in hold
        )
        for place, agent in enumerate(options.agents)
    ]
    early = callers(options, draw, count=wanted.agents)
    begin_ms = early[-1].starts_ms + SETTLE_MS if early else 0
    late = callers(options, draw, count=wanted.waiting, first=wanted.agents, after_ms=begin_ms)
    patient = tuple(
        replace(plan, waits_for_release=True, patience_ms=PATIENT_MS) for plan in (*early, *late)
    )
    return People(patient, tuple(agents))


def _first_offer(plan: AgentPlan, *, rings_long: bool, holds: bool) -> AgentPlan:
    offers = [replace(offer, waits_for_release=True) for offer in plan.offers]
    offers[0] = replace(offers[0], decline=0, ignores=False)
    if rings_long:
        offers[0] = replace(offers[0], ring_ms=LONG_RING_MS)
    if holds:
        offers[0] = replace(offers[0], hold_ms=HOLD_AFTER_MS, held_ms=LONG_HOLD_MS)
    return replace(plan, offers=tuple(offers))


def _spread(wanted: Mix) -> Sequence[bool]:
    """Who of the agents rings long: evenly over the list and by pairs, so that a list which is
    halved, or dealt in turn to two shards, gives each the same number (where it is even).
    """
    total, long = (wanted.agents + 1) // 2, wanted.ringing / 2
    pairs = [int((n + 1) * long / total) > int(n * long / total) for n in range(total)]
    places = [n for n in range(wanted.agents) if pairs[n // 2]]
    if len(places) != wanted.ringing:  # an odd number: the last ones of all
        places = list(range(wanted.agents - wanted.ringing, wanted.agents))
    return [n in places for n in range(wanted.agents)]
