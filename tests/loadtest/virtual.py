"""A caller and an agent's phone face to face, in virtual time: real messages, no sockets."""

from collections import deque
from collections.abc import Callable
from typing import assert_never

from loadtest import identity
from loadtest.agent import Agent, AgentPlan
from loadtest.caller import Caller, CallerPlan
from loadtest.effects import (
    Acked,
    Ask,
    Direct,
    Effect,
    Event,
    Expired,
    HangUp,
    Hears,
    Hush,
    Note,
    Press,
    Received,
    Release,
    Reply,
    Speak,
    Start,
    Tick,
)
from loadtest.facts import AnyFact
from loadtest.leg import Phone
from sip.message import Message
from sip.transaction import Layer
from sip.uri import Address

CALLER: Address = ("127.0.0.1", 6001)
AGENT: Address = ("127.0.0.1", 7001)

type_of = type


class Node:
    """Somebody behind a transaction layer."""

    def __init__(self, world: "World", address: Address, human: Caller | Agent) -> None:
        self.world = world
        self.human = human
        self.speaks: list[Speak] = []
        self.pressed = ""
        self.hushed = 0
        self.layer = Layer(
            lambda datagram, dst: world.send(datagram, address, dst),
            self,
            world.now_ms,
            sent_by=f"{address[0]}:{address[1]}",
            on_fault=world.faults.append,
        )

    def on_request(self, msg: Message, source: Address) -> None:
        self.step(Received(msg, source))

    def on_response(self, msg: Message, source: Address) -> None:
        self.step(Received(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self.step(Expired(branch, method))

    def step(self, event: Event) -> None:
        for effect in self.human.step(event, self.world.now_ms):
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        now_ms = self.world.now_ms
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
                self.world.log.append(fact)
            case Speak():
                self.speaks.append(effect)
                self.world.heard()
            case Press(_, digits):
                self.pressed += digits
            case Hush():
                self.hushed += 1
            case _:
                assert_never(effect)


class World:
    """The two, the wire between them, the clock. `lost(datagram)` says what the wire loses."""

    def __init__(
        self,
        caller: CallerPlan | None = None,
        agent: AgentPlan | None = None,
        *,
        audio: bool = True,
        lost: Callable[[bytes], bool] = lambda datagram: False,
    ) -> None:
        self.now_ms = 1_000
        self.log: list[AnyFact] = []
        self.faults: list[Exception] = []
        self.lost = lost
        self.sent: list[bytes] = []
        self._wire: deque[tuple[bytes, Address, Address]] = deque()
        self._nodes: dict[Address, Node] = {}
        self.caller: Node | None = None
        self.agent: Node | None = None
        if agent is not None:
            phone = Phone(AGENT, ("127.0.0.1", 7002), has_audio=audio)
            human = Agent(agent, identity.agent(0), token="ffff0000", phone=phone)
            self.agent = self._nodes[AGENT] = Node(self, AGENT, human)
            self.agent.step(Start())
        if caller is not None:
            self.caller = self._nodes[CALLER] = Node(
                self,
                CALLER,
                Caller(
                    caller,
                    identity.caller(0),
                    who="c0",
                    call="call-0",
                    token="aaaa0000",
                    phone=Phone(CALLER, ("127.0.0.1", 6002), has_audio=audio),
                    target=AGENT,
                ),
            )
            self.caller.step(Start())

    def send(self, datagram: bytes, source: Address, dst: Address) -> None:
        self.sent.append(datagram)
        if not self.lost(datagram):
            self._wire.append((datagram, source, dst))

    def heard(self) -> None:
        """Once both speak, each hears the other."""
        if self.caller and self.agent and self.caller.speaks and self.agent.speaks:
            caller, agent = self.caller, self.agent
            if len(caller.speaks) == 1:
                caller.step(Hears("call-0", "a0"))
            if len(agent.speaks) == 1:
                agent.step(Hears("call-0", "c0"))

    def deliver(self) -> None:
        """Everything on the wire arrives, and what is sent in answer."""
        while self._wire:
            datagram, source, dst = self._wire.popleft()
            if dst in self._nodes:
                self._nodes[dst].layer.receive(datagram, source, self.now_ms)

    def run(self, until_ms: int) -> "World":
        """Let time pass, in steps of 10 ms, up to `until_ms` after the start."""
        while True:
            self.deliver()
            for node in self._nodes.values():
                deadline_ms = node.human.deadline_ms
                if deadline_ms is not None and deadline_ms <= self.now_ms:
                    node.step(Tick())
                node.layer.tick(self.now_ms)
            self.deliver()
            assert not self.faults, self.faults
            if self.now_ms >= 1_000 + until_ms:
                return self
            self.now_ms += 10

    def everybody(self, event: HangUp | Release) -> None:
        for node in self._nodes.values():
            node.step(event)

    def facts(self, who: str) -> list[str]:
        """The names of what somebody logged, in order."""
        return [_name(fact) for fact in self.log if fact.who == who]

    def find(self, kind: type[AnyFact]) -> list[AnyFact]:
        return [fact for fact in self.log if isinstance(fact, kind)]


def _name(fact: AnyFact) -> str:
    status = getattr(fact, "status", "")
    return f"{type(fact).__name__}{' ' if status else ''}{status}"
