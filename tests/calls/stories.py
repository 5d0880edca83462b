"""The recorded calls that the sweep goes through: who calls, who answers, who does what when."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from calls.centre import Agent, Centre, Number, Queue, Shard
from loadtest import facts
from loadtest.agent import OfferPlan
from loadtest.caller import CallerPlan
from loadtest.facts import AnyFact
from tests.calls.audit import audit_end
from tests.calls.node import Watched
from tests.calls.people import SHARD, Moment, Person, a_caller, an_agent
from tests.calls.sweep import QUIET_MS, Plan, Sweep


def centre(
    *,
    agents: int = 1,
    ring_ms: int = 0,
    prompt: str = "",
    offer_timeout_ms: int = 20_000,
    wrap_up_ms: int = 500,
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


Check = Callable[[Sweep], list[str]]


@dataclass(frozen=True)
class Story:
    """One or more calls, and how they must end whatever dies."""

    centre: Centre
    callers: tuple[CallerPlan, ...]
    offers: tuple[tuple[OfferPlan, ...], ...] = ((OfferPlan(ring_ms=400),),)
    """By agent, what he does with one offer after the other."""
    outcomes: tuple[str, ...] = ("answered",)
    """How each call may end."""
    agents: tuple[str, ...] = ("ready",)
    """State of each agent at the end, with its reason where he is not ready; () for any."""
    caller_moments: tuple[Moment, ...] = ()
    agent_moments: tuple[Moment, ...] = ()
    check: Check = lambda world: []
    forked: bool = False
    vanishes: bool = False
    """A phone is gone without a word, so requests to it have no answer."""
    refuses_hold: bool = False
    quiet_ms: int = QUIET_MS

    def played(self, plan: Plan | None = None, machine: type[Watched] = Watched) -> Sweep:
        """The whole story under this plan."""
        world = Sweep(self.centre, plan, machine=machine, quiet_ms=self.quiet_ms)
        world.media.refuses_hold = self.refuses_hold
        for n, offers in enumerate(self.offers):
            world.people.append(an_agent(world, n, *offers, moments=self.agent_moments))
        if self.forked:
            first, second = world.people
            world.forks[first.address] = second.address
        for n, plan_ in enumerate(self.callers):
            world.people.append(a_caller(world, n, plan_, self.caller_moments))
        world.run()
        return world

    def faults(self, world: Sweep, *, loosely: bool = False) -> list[str]:
        """What is wrong with a run. `loosely`: calls may have gone another way, yet ended well."""
        found = audit_end(world, vanished=self.vanishes)
        found += world.undone
        if not self.vanishes:
            found += [f"timeout: {what}" for what in world.timeouts]
        if loosely:
            return found
        found += self.check(world)
        found += [
            f"ended as {fact['outcome']} ({fact['cause']})"
            for fact in world.facts("ended")
            if fact["outcome"] not in self.outcomes
        ]
        ended = len(world.facts("ended"))
        expected = len(self.callers) if self.outcomes else 0
        if ended != expected and (ended or not self.vanishes):
            found.append(f"{ended} CDRs")
        for agent, wanted in zip(world.centre.agents, self.agents, strict=False):
            record = world.records[f"agent/{agent}"]
            state = "ready" if record.state == "ready" else f"{record.state} {record.reason}"
            if state != wanted:
                found.append(f"{agent} is {state}, not {wanted}")
        return found


def a_call(**plan: object) -> CallerPlan:
    return CallerPlan(**({"number": "4001", "starts_ms": 100, "talk_ms": 2_000} | plan))  # type: ignore[arg-type]


def _press(person: Person) -> None:
    person.info("7")


def hold(person: Person) -> None:
    person.hold(hold=True)


def resume(person: Person) -> None:
    person.hold(hold=False)


def _vanish(person: Person) -> None:
    person.is_dead = True


def _keys(world: Sweep) -> list[str]:
    pressed = ["".join(sorted(fact["digits"])) for fact in world.facts("ended")]
    return [] if pressed == ["247"] else [f"keys {pressed}"]


def _in_order(world: Sweep) -> list[str]:
    received = [fact["call"] for fact in world.facts("received")]
    answered = [fact["call"] for fact in world.facts("answered")]
    return [] if received == answered else [f"answered {answered}, received {received}"]


def _rang(world: Sweep) -> list[str]:
    statuses = [getattr(fact, "status", 0) for fact in world.people[-1].saw(facts.Ringing)]
    return [] if 180 in statuses else [f"the caller heard no ringing: {statuses}"]


def _rang_once(world: Sweep) -> list[str]:
    rings = [len(person.saw(facts.Offered)) for person in world.people]
    return [f"phones rang {rings} times"] if max(rings) > 1 else []


def _refused_hold(world: Sweep) -> list[str]:
    answers = [getattr(fact, "status", 0) for fact in world.people[0].saw(facts.Held)]
    return [] if answers == [488, 200] else [f"hold and resume were answered {answers}"]


TAKES = OfferPlan(ring_ms=400)
IGNORES = OfferPlan(ignores=True)
TWO = ((TAKES,), (TAKES,))

STORIES: dict[str, Story] = {
    "talk, hold from both sides, keys": Story(
        centre(prompt="welcome.wav"),
        (a_call(talk_ms=24_000, hold_ms=1_000, held_ms=7_000, digits="42", digits_ms=700),),
        ((OfferPlan(ring_ms=400, hold_ms=12_000, held_ms=7_000),),),
        caller_moments=((facts.Answered, 900, _press),),
        check=_keys,
    ),
    "the agent hangs up": Story(
        centre(wrap_up_ms=0),
        (a_call(hangs_up=False),),
        ((OfferPlan(ring_ms=400, talk_ms=3_000, hangs_up=True),),),
    ),
    "the caller leaves in the prompt": Story(
        centre(prompt="welcome.wav"), (a_call(patience_ms=300),), outcomes=("ended_before_queue",)
    ),
    "the caller leaves while he waits": Story(
        centre(state="not_ready"),
        (a_call(patience_ms=4_000),),
        outcomes=("abandoned",),
        agents=("not_ready configured",),
    ),
    "the caller leaves while a phone rings": Story(
        centre(), (a_call(patience_ms=3_500),), ((IGNORES,),), ("abandoned",)
    ),
    "declined, another takes it": Story(
        centre(agents=2),
        (a_call(),),
        ((OfferPlan(ring_ms=300, decline=486),), (TAKES,)),
        agents=("not_ready busy", "ready"),
        check=_rang_once,
    ),
    "not answered, another takes it": Story(
        centre(agents=2, offer_timeout_ms=2_000),
        (a_call(),),
        ((IGNORES,), (TAKES,)),
        agents=("not_ready no_answer", "ready"),
        check=_rang_once,
    ),
    "declined, paused, offered again": Story(
        centre(pause_ms=1_000), (a_call(),), ((OfferPlan(ring_ms=300, decline=603), TAKES),)
    ),
    "an INVITE without an offer": Story(centre(), (a_call(offerless=True, talk_ms=12_000),)),
    "it rings, and he cancels": Story(
        centre(ring_ms=3_000),
        (a_call(patience_ms=1_200),),
        outcomes=("ended_before_queue",),
        check=_rang,
    ),
    "it rings, and he is answered": Story(centre(ring_ms=1_500), (a_call(),), check=_rang),
    "three callers, one agent": Story(
        centre(),
        (a_call(talk_ms=6_000), a_call(starts_ms=1_500), a_call(starts_ms=1_800)),
        check=_in_order,
    ),
    "two phones answer one INVITE": Story(centre(), (a_call(),), TWO, forked=True),
    "he holds while he waits": Story(
        centre(),
        (a_call(talk_ms=9_000), a_call(starts_ms=300, talk_ms=9_000)),
        caller_moments=((facts.Answered, 2_000, hold), (facts.Answered, 17_000, resume)),
    ),
    "a hold that the media server refuses": Story(
        centre(),
        (a_call(talk_ms=26_000),),
        ((OfferPlan(ring_ms=400, hold_ms=4_000, held_ms=9_000),),),
        check=_refused_hold,
        refuses_hold=True,
    ),
    "re-INVITEs without an offer, and taken back": Story(
        centre(),
        (a_call(talk_ms=24_000),),
        caller_moments=(
            (facts.Answered, 3_000, Person.ask_offer),
            (facts.Answered, 12_000, Person.ask_and_cancel),
        ),
    ),
    "the agent's phone vanishes": Story(
        centre(),
        (a_call(hangs_up=False),),
        agent_moments=((facts.Confirmed, 1_000, _vanish),),
        vanishes=True,
        quiet_ms=160_000,
    ),
    "the caller vanishes before his ACK": Story(
        centre(),
        (a_call(),),
        outcomes=("ended_before_queue",),
        caller_moments=((facts.Invited, 2, _vanish),),
        vanishes=True,
        quiet_ms=140_000,
    ),
    "a number that nobody has": Story(centre(), (a_call(number="9999"),), outcomes=()),
    "two calls at once": Story(
        centre(agents=2),
        (a_call(talk_ms=9_000), a_call(talk_ms=9_000, starts_ms=150)),
        TWO,
        agents=("ready", "ready"),
    ),
}


@cache
def recorded(name: str) -> Sweep:
    """The story undisturbed."""
    return STORIES[name].played()


def after(story: Story, who: int, kind: type[AnyFact]) -> int:
    """How long after the first caller dialled a person first saw this."""
    world = story.played()
    dialled = world.people[len(story.offers)].saw(facts.Invited)[0].ms
    return world.people[who].saw(kind)[0].ms - dialled


def crossings() -> dict[str, Callable[[int], Story]]:
    """Stories in which two things happen at the same time, but for so many ms."""
    talk = Story(centre(), (a_call(),))
    ignored = Story(centre(), (a_call(patience_ms=3_000),), ((IGNORES,),), ("abandoned",))
    either = ("abandoned", "answered")
    offered = after(ignored, 0, facts.Offered)
    answered = after(talk, 0, facts.Answered)
    hangs_up = after(talk, 1, facts.ByeSent)
    confirmed = after(talk, 0, facts.Confirmed)
    rings = Story(centre(ring_ms=1_500), (a_call(),))
    told = after(rings, 1, facts.Answered)
    declines = OfferPlan(ring_ms=400, decline=486)

    def talks(agent: OfferPlan, **plan: object) -> Story:
        return Story(centre(), (a_call(**plan),), ((agent,),), either)

    return {
        "he leaves as a phone is called": lambda ms: replace(
            ignored, callers=(a_call(patience_ms=offered + ms),)
        ),
        "he leaves as the agent picks up": lambda ms: talks(TAKES, patience_ms=answered + ms),
        "he leaves as the agent declines": lambda ms: replace(
            talks(declines, patience_ms=answered + ms), agents=()
        ),
        "he cancels as he is answered": lambda ms: replace(
            rings,
            callers=(a_call(patience_ms=told + ms),),
            outcomes=("ended_before_queue", "abandoned"),
        ),
        "both hang up": lambda ms: talks(
            OfferPlan(ring_ms=400, hangs_up=True, talk_ms=hangs_up - answered + ms)
        ),
        "both hold": lambda ms: talks(
            OfferPlan(ring_ms=400, hold_ms=hangs_up - answered + ms, held_ms=9_000),
            hold_ms=2_000,
            held_ms=18_000,
            talk_ms=30_000,
        ),
        "he hangs up as the agent holds": lambda ms: talks(
            OfferPlan(ring_ms=400, hold_ms=hangs_up - answered + ms)
        ),
        "the agent hangs up as soon as he picked up": lambda ms: replace(
            talks(OfferPlan(ring_ms=400, hangs_up=True, talk_ms=confirmed - answered + ms)),
            agents=(),
            outcomes=("abandoned", "answered"),
        ),
        "he is not offered longer as the agent picks up": lambda ms: Story(
            centre(offer_timeout_ms=2_000, pause_ms=500),
            (a_call(),),
            ((OfferPlan(ring_ms=2_000 + ms), TAKES),),
        ),
    }


CROSSINGS = crossings()
