"""The phones of the sweep: loadtest's callers and agents behind real transaction layers."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from loadtest import facts, identity
from loadtest.agent import Agent, AgentPlan, OfferPlan
from loadtest.caller import Caller, CallerPlan
from loadtest.effects import Effect, Event, Start, Tick
from loadtest.facts import AnyFact
from loadtest.leg import End, Phone
from loadtest.sim import person
from sip import dialog as dialogs
from sip.message import Message
from sip.uri import Address

if TYPE_CHECKING:
    from tests.calls.sweep import Sweep

SHARD: Address = ("127.0.0.1", 5060)

Moment = tuple[type[AnyFact], int, Callable[["Person"], None]]
"""So many ms after the person's first fact of this kind, that is done to him."""


class Person(person.Person):
    """Somebody with a phone, to whom things happen at planned moments."""

    def __init__(
        self,
        world: "Sweep",
        human: Caller | Agent,
        address: Address,
        rtp: int,
        moments: tuple[Moment, ...] = (),
    ) -> None:
        super().__init__(world, human, address, rtp)
        self.world = world
        self.is_dead = False
        """His phone has lost its network: it neither hears nor acts."""
        self._moments = list(moments)
        self._asked: dict[str, bytes] = {}
        self._has_acted = True
        self._next_ms: int | None = None

    @property
    def is_over(self) -> bool:
        return self.is_dead or self.human.is_over

    @property
    def is_up(self) -> bool:
        """He is in a call that is up and has nothing under way."""
        leg = self.leg
        if self.is_dead:
            return False
        if isinstance(self.human, Agent) and not (self.human.line and self.human.line.confirmed):
            return False
        return leg is not None and leg.end is End.UP and leg.reinvite is None and bool(leg.theirs)

    @property
    def next_ms(self) -> int | None:
        """When he has something to do by himself."""
        if self._has_acted:
            self._has_acted = False
            self._next_ms = super().next_ms
        return None if self.is_dead else self._next_ms

    def receive(self, datagram: bytes, source: Address) -> None:
        self._has_acted = True
        super().receive(datagram, source)

    def tick(self, now_ms: int) -> None:
        self._has_acted = True
        super().tick(now_ms)

    def on_response(self, msg: Message, source: Address) -> None:
        if msg.branch in self._asked:
            self._answered(msg)
        else:
            super().on_response(msg, source)

    def step(self, event: Event) -> None:
        self._has_acted = True
        if isinstance(event, Tick):
            self.world.before_acting(self)
        super().step(event)

    def info(self, signal: str) -> None:
        """A key by INFO."""
        leg = self.leg
        if leg is None or leg.end is not End.UP:
            return
        leg.dialog.local_cseq += 1
        branch = leg.branch()
        datagram = dialogs.request(
            leg.dialog,
            "INFO",
            cseq=leg.dialog.local_cseq,
            branch=branch,
            sent_by=leg.phone.sent_by,
            headers=(("Content-Type", "application/dtmf-relay"),),
            body=f"Signal={signal}\r\nDuration=100\r\n",
        )
        self.layer.request("INFO", branch, datagram, leg.dialog.next_hop, self.world.now_ms)

    def hold(self, *, hold: bool) -> None:
        """A re-INVITE, now."""
        leg = self.leg
        out: list[Effect] = []
        if leg is not None:
            leg.hold(self.world.now_ms, out, hold=hold)
        for effect in out:
            self.perform(effect)

    def ask_offer(self) -> None:
        """A re-INVITE without an offer: the 200 brings it, our ACK the answer."""
        self._reinvite("")

    def ask_and_cancel(self) -> None:
        """A re-INVITE that is taken back before it has an answer."""
        leg = self.leg
        branch = self._reinvite(leg.ours if leg is not None else "")
        if branch:
            datagram = dialogs.cancel(self._asked[branch])
            self.layer.request("CANCEL", branch, datagram, SHARD, self.world.now_ms)

    def _reinvite(self, body: str) -> str:
        leg = self.leg
        if leg is None or not self.is_up:
            return ""
        leg.dialog.local_cseq += 1
        branch = leg.branch()
        datagram = dialogs.request(
            leg.dialog,
            "INVITE",
            cseq=leg.dialog.local_cseq,
            branch=branch,
            sent_by=leg.phone.sent_by,
            contact=leg.contact,
            body=body,
        )
        self._asked[branch] = datagram
        self.layer.request("INVITE", branch, datagram, leg.dialog.next_hop, self.world.now_ms)
        return branch

    def _answered(self, msg: Message) -> None:
        """ACK to the 200 of a re-INVITE of ours; with the answer if it has the offer."""
        leg = self.leg
        if leg is None or msg.cseq_method != "INVITE" or not 200 <= msg.status < 300:
            return
        leg.theirs = msg.body
        out: list[Effect] = []
        asked = "v=0" in self._asked[msg.branch].decode()
        leg.ack(msg.branch, msg.cseq, out, "" if asked else leg.answer(msg.body))
        for effect in out:
            self.perform(effect)

    def saw(self, kind: type[AnyFact]) -> list[AnyFact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def noted(self, fact: AnyFact) -> None:
        super().noted(fact)
        self._plan(fact)

    def _plan(self, fact: AnyFact) -> None:
        for moment in [moment for moment in self._moments if isinstance(fact, moment[0])]:
            self._moments.remove(moment)
            _, delay_ms, act = moment
            self.world.at(delay_ms, partial(self._do, act))

    def _do(self, act: Callable[["Person"], None]) -> None:
        self._has_acted = True
        act(self)


def a_caller(world: "Sweep", n: int, plan: CallerPlan, moments: tuple[Moment, ...] = ()) -> Person:
    """Caller number `n`, who dials at `plan.starts_ms`."""
    address, rtp = (f"127.0.0.{20 + n}", 5070), 6_000 + 2 * n
    human = Caller(
        plan,
        identity.caller(n),
        who=f"c{n}",
        call=f"call-{n}",
        token=f"aaaa{n:04x}",
        phone=Phone(address, (address[0], rtp)),
        target=SHARD,
    )
    caller = Person(world, human, address, rtp, moments)
    world.at(plan.starts_ms, lambda: caller.step(Start()))
    return caller


def an_agent(
    world: "Sweep", n: int, *offers: OfferPlan, moments: tuple[Moment, ...] = ()
) -> Person:
    """Agent number `n` (1001 is number 0)."""
    address, rtp = ("127.0.0.2", 7_001 + n), 8_000 + 2 * n
    plan = AgentPlan(str(1001 + n), offers)
    phone = Phone(address, (address[0], rtp))
    human = Agent(plan, identity.agent(n), token=f"ffff{n:04x}", phone=phone)
    agent = Person(world, human, address, rtp, moments)
    agent.step(Start())
    return agent


def timeouts(somebody: Person) -> list[str]:
    """Requests of his that nobody answered."""
    found = []
    for fact in somebody.facts:
        match fact:
            case facts.Refused(status=408) | facts.ByeAnswered(status=408) | facts.Held(status=408):
                found.append(f"{fact.who}: {type(fact).__name__} 408 at {fact.ms}")
            case facts.DoubleOffer():
                found.append(f"{fact.who}: double offer at {fact.ms}")
            case _:
                pass
    return found
