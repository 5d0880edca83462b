"""The recorded calls that the sweep goes through: who calls, who answers, who does what when."""

from collections.abc import Callable
from dataclasses import dataclass, field

from calls.centre import Agent, Centre, Number, Queue, Shard
from loadtest import facts
from loadtest.agent import OfferPlan
from loadtest.caller import CallerPlan
from tests.calls.people import SHARD, Moment, Person, a_caller, an_agent
from tests.calls.sweep import Plan, Sweep


def centre(
    *,
    agents: int = 1,
    ring_ms: int = 0,
    prompt: str = "welcome.wav",
    offer_timeout_ms: int = 20_000,
    wrap_up_ms: int = 1_000,
    pause_ms: int = 0,
    state: str = "ready",
) -> Centre:
    return Centre(
        numbers={"4001": Number(queue="support", ring_ms=ring_ms, prompt=prompt)},
        queues={
            "support": Queue(
                offer_timeout_ms=offer_timeout_ms,
                wrap_up_ms=wrap_up_ms,
                no_answer_pause_ms=pause_ms,
            )
        },
        agents={
            str(1001 + n): Agent(
                name=f"Desk {n}",
                phone=f"sip:{1001 + n}@127.0.0.2:{7001 + n}",
                queues=("support",),
                state=state,
            )
            for n in range(agents)
        },
        shards={"main": Shard(sip=SHARD)},
    )


@dataclass(frozen=True)
class Story:
    """One or more calls, and how they must end whatever dies."""

    centre: Centre
    callers: tuple[CallerPlan, ...]
    offers: tuple[tuple[OfferPlan, ...], ...] = ()
    """By agent, what he does with one offer after the other."""
    outcomes: tuple[str, ...] = ("answered",)
    """That each call may end in."""
    agents: tuple[tuple[str, str], ...] = (("ready", ""),)
    """State and reason of each agent at the end; the reason only where he is not ready."""
    caller_moments: tuple[Moment, ...] = ()
    agent_moments: tuple[Moment, ...] = ()
    forked: bool = False
    checks: Callable[[Sweep], list[str]] = field(default=lambda world: [])
    talks: bool = False
    """People talk so long that the audit of their audio must have looked."""

    def played(self, plan: Plan | None = None) -> Sweep:
        """The whole story under this plan."""
        world = Sweep(self.centre, plan)
        for n, offers in enumerate(self.offers):
            world.people.append(an_agent(world, n, *offers, moments=self.agent_moments))
        if self.forked:
            first, second = world.people
            world.forks[first.address] = second.address
        for n, caller in enumerate(self.callers):
            world.people.append(a_caller(world, n, caller, self.caller_moments))
        world.run()
        return world


def caller(**plan: object) -> CallerPlan:
    return CallerPlan(**({"number": "4001", "starts_ms": 100} | plan))  # type: ignore[arg-type]


def _press(person: Person) -> None:
    person.info("7")


def _digits(world: Sweep) -> list[str]:
    pressed = [sorted(fact["digits"]) for fact in world.facts("ended")]
    return [] if pressed == [["4", "2", "7"]] or pressed == [sorted("427")] else [f"keys {pressed}"]


def _in_order(world: Sweep) -> list[str]:
    received = [fact["call"] for fact in world.facts("received")]
    answered = [fact["call"] for fact in world.facts("answered")]
    return [] if received == answered else [f"answered {answered}, received {received}"]


def _rang(world: Sweep) -> list[str]:
    person = world.people[-1]
    statuses = [fact.status for fact in person.facts if isinstance(fact, facts.Ringing)]
    return [] if 180 in statuses else [f"the caller heard no ringing: {statuses}"]


TAKES = OfferPlan(ring_ms=400)
IGNORES = OfferPlan(ignores=True)
OUT_OF_ORDER = ("abandoned",)

STORIES: dict[str, Story] = {
    "talk, hold from both sides, keys": Story(
        centre(),
        (
            caller(
                talk_ms=24_000, hold_ms=1_000, held_ms=7_000, digits="42", digits_ms=700
            ),
        ),
        ((OfferPlan(ring_ms=400, hold_ms=12_000, held_ms=7_000),),),
        caller_moments=((facts.Answered, 900, _press),),
        checks=_digits,
        talks=True,
    ),
    "the agent hangs up": Story(
        centre(wrap_up_ms=0),
        (caller(hangs_up=False),),
        ((OfferPlan(ring_ms=400, talk_ms=3_000, hangs_up=True),),),
    ),
    "the caller leaves in the prompt": Story(
        centre(), (caller(patience_ms=800),), ((TAKES,),), ("ended_before_queue",)
    ),
    "the caller leaves while he waits": Story(
        centre(state="not_ready"),
        (caller(patience_ms=4_000),),
        ((TAKES,),),
        ("abandoned",),
        (("not_ready", "configured"),),
    ),
    "the caller leaves while a phone rings": Story(
        centre(), (caller(patience_ms=3_500),), ((IGNORES,),), ("abandoned",)
    ),
    "declined, another takes it": Story(
        centre(agents=2, prompt=""),
        (caller(talk_ms=2_000),),
        ((OfferPlan(ring_ms=300, decline=486),), (TAKES,)),
        agents=(("not_ready", "busy"), ("ready", "")),
    ),
    "not answered, another takes it": Story(
        centre(agents=2, offer_timeout_ms=2_000, prompt=""),
        (caller(talk_ms=2_000),),
        ((IGNORES,), (TAKES,)),
        agents=(("not_ready", "no_answer"), ("ready", "")),
    ),
    "declined, paused, offered again": Story(
        centre(pause_ms=1_000, prompt=""),
        (caller(talk_ms=2_000),),
        ((OfferPlan(ring_ms=300, decline=603), TAKES),),
    ),
    "an INVITE without an offer": Story(
        centre(prompt=""), (caller(offerless=True, talk_ms=12_000),), ((TAKES,),), talks=True
    ),
    "it rings, and he cancels": Story(
        centre(ring_ms=3_000), (caller(patience_ms=1_200),), ((TAKES,),), ("ended_before_queue",),
        checks=_rang,
    ),
    "it rings, and he is answered": Story(
        centre(ring_ms=1_500, prompt=""), (caller(talk_ms=2_000),), ((TAKES,),), checks=_rang
    ),
    "two callers, one agent": Story(
        centre(wrap_up_ms=500, prompt=""),
        (caller(talk_ms=2_000), caller(talk_ms=2_000, starts_ms=300)),
        ((TAKES,),),
        checks=_in_order,
    ),
    "two phones answer one INVITE": Story(
        centre(prompt=""), (caller(talk_ms=2_000),), ((TAKES,), (TAKES,)), forked=True
    ),
}  # fmt: skip
