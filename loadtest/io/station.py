"""SIP ports of simulated people: a socket, the transaction layer on it, and who is meant."""

import asyncio
from typing import Protocol

from loadtest.agent import Agent
from loadtest.caller import Caller
from loadtest.effects import Event, Expired, Received
from loadtest.io.audio import Line
from loadtest.leg import token_of
from sip import dialog as dialogs
from sip.io.udp import Port
from sip.message import Message
from sip.transaction import Layer
from sip.uri import Address


class Host(Protocol):
    """What a station needs of the crowd it belongs to."""

    loop: asyncio.AbstractEventLoop

    def now_ms(self) -> int: ...
    def failed(self, fault: Exception) -> None: ...
    def step(self, person: "Person", event: Event) -> None: ...


class Station:
    """One SIP port, and the transaction layer on it."""

    def __init__(self, crowd: Host, address: Address) -> None:
        self.port = Port.bind(address)
        self.address = self.port.address
        self._crowd = crowd
        self.layer = self._new_layer()
        self.port.start(crowd.loop, self._receive)

    def _new_layer(self) -> Layer:
        return Layer(
            self.port.send,
            self,
            self._crowd.now_ms(),
            sent_by=f"{self.address[0]}:{self.address[1]}",
            on_fault=self._crowd.failed,
        )

    def _receive(self, datagram: bytes, source: Address) -> None:
        self.layer.receive(datagram, source, self._crowd.now_ms())

    def on_request(self, msg: Message, source: Address) -> None:
        self.given(Received(msg, source), msg.call_id, "")

    def on_response(self, msg: Message, source: Address) -> None:
        self.given(Received(msg, source), msg.call_id, "")

    def on_timeout(self, branch: str, method: str) -> None:
        self.given(Expired(branch, method), "", token_of(branch))

    def given(self, event: Event, call: str, token: str) -> None:
        """An event for whoever has this Call-ID or token."""
        raise NotImplementedError

    def close(self) -> None:
        self.port.close()


class CallersStation(Station):
    """The callers' common port."""

    def __init__(self, crowd: Host, address: Address) -> None:
        super().__init__(crowd, address)
        self.by_call: dict[str, Person] = {}
        self.by_token: dict[str, Person] = {}

    def expect(self, person: "Person", caller: Caller) -> None:
        """From now on he gets what is for his call."""
        person.call = caller.call
        self.by_call[caller.call] = person
        self.by_token[caller.token] = person

    def forget(self, person: "Person") -> None:
        """He gets nothing more."""
        assert isinstance(person.human, Caller)
        self.by_call.pop(person.human.call, None)
        self.by_token.pop(person.human.token, None)

    def given(self, event: Event, call: str, token: str) -> None:
        person = self.by_call.get(call) if call else self.by_token.get(token)
        if person is not None:
            self._crowd.step(person, event)
        elif isinstance(event, Received) and event.msg.method not in ("", "ACK"):
            origin = dialogs.origin(event.msg, event.source)
            status = 200 if event.msg.method == "OPTIONS" else 481
            if event.msg.method == "INVITE" and not event.msg.to_tag:
                status = 480
            answer = dialogs.respond(origin, status, to_tag="none")
            self.layer.respond(origin, status, answer, self._crowd.now_ms())


class AgentStation(Station):
    """One agent's port."""

    person: "Person"

    def given(self, event: Event, call: str, token: str) -> None:
        self._crowd.step(self.person, event)


class Person:
    """Somebody, his port, his audio line, and when he is to be woken."""

    __slots__ = ("call", "due_ms", "human", "line", "station")

    def __init__(self, human: Caller | Agent, station: Station, line: Line | None) -> None:
        self.human = human
        self.station = station
        self.line = line
        self.call = ""
        self.due_ms: int | None = None
