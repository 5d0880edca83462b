"""A simulated phone: one of `loadtest`'s callers or agents behind a real transaction layer."""

from typing import Protocol, assert_never

from loadtest import facts
from loadtest.agent import Agent
from loadtest.caller import Caller
from loadtest.effects import (
    Acked,
    Ask,
    Direct,
    Effect,
    Event,
    Expired,
    Hears,
    Hush,
    Note,
    Press,
    Received,
    Reply,
    Speak,
    Tick,
)
from loadtest.facts import AnyFact
from loadtest.leg import End, Leg
from loadtest.sim.media import MediaServer
from sip.message import Message
from sip.transaction import Layer
from sip.uri import Address


class Surroundings(Protocol):
    """What a phone needs of its world."""

    now_ms: int
    media: MediaServer

    def send(self, datagram: bytes, source: Address, destination: Address) -> None: ...


class Person:
    """Somebody with a phone."""

    def __init__(
        self, world: Surroundings, human: Caller | Agent, address: Address, rtp: int
    ) -> None:
        self.human = human
        self.address = address
        self.rtp = rtp
        self.faults: list[Exception] = []
        self.facts: list[AnyFact] = []
        self._around = world
        self.layer = Layer(
            lambda datagram, dst: world.send(datagram, address, dst),
            self,
            world.now_ms,
            sent_by=f"{address[0]}:{address[1]}",
            on_fault=self.faults.append,
        )

    @property
    def leg(self) -> Leg | None:
        """The call he is in; None between calls."""
        if isinstance(self.human, Caller):
            return self.human.leg
        return self.human.line.leg if self.human.line is not None else None

    @property
    def is_over(self) -> bool:
        return self.human.is_over

    @property
    def next_ms(self) -> int | None:
        """When he has something to do by himself."""
        times = (self.layer.next_ms, self.human.deadline_ms)
        return min((time for time in times if time is not None), default=None)

    def receive(self, datagram: bytes, source: Address) -> None:
        self.layer.receive(datagram, source, self._around.now_ms)

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        self.layer.tick(now_ms)
        due_ms = self.human.deadline_ms
        if due_ms is not None and due_ms <= now_ms:
            self.step(Tick())

    def on_request(self, msg: Message, source: Address) -> None:
        self.step(Received(msg, source))

    def on_response(self, msg: Message, source: Address) -> None:
        self.step(Received(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self.step(Expired(branch, method))

    def hears(self, what: str) -> None:
        """From now on he hears this in his call."""
        if self.leg is not None and self.leg.end is End.UP:
            self.step(Hears(self.leg.call, what))

    def step(self, event: Event) -> None:
        """Something happens to him, and he does what he does about it."""
        for effect in self.human.step(event, self._around.now_ms):
            self.perform(effect)

    def noted(self, fact: AnyFact) -> None:
        """He has seen something."""
        self.facts.append(fact)

    def perform(self, effect: Effect) -> None:
        """What he wants done."""
        now_ms = self._around.now_ms
        match effect:
            case Ask(method, branch, datagram, dst):
                self.layer.request(method, branch, datagram, dst, now_ms)
            case Reply(origin, status, datagram):
                self.layer.respond(origin, status, datagram, now_ms)
            case Direct(datagram, dst):
                self.layer.send(datagram, dst)
            case Acked(origin):
                self.layer.acked(origin)
            case Note(fact):
                self.noted(fact)
            case Press(_, digits):
                self._around.media.press(self.rtp, digits)
            case Hush(call):
                self.noted(facts.Heard(ms=now_ms, who=self.human.who, call=call, what=""))
            case Speak():
                pass
            case _:
                assert_never(effect)
