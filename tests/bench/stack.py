"""Rows measured inside this process: parsing, and the signalling of a call.

A call here is a caller, the real transaction layer, the real machine and an agent's phone; the
media server answers at once, nothing is replicated and no socket is used. Only the time inside
keepline's code counts: the phones' side is templates, made while the watch stands.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from calls import effects, inputs
from calls.centre import Agent, Centre, Number, Queue, Shard
from calls.machine import Calls
from cluster.machine import Step
from sip.message import Message, parse
from sip.transaction import Layer
from tests.bench.wire import Received, Request, respond

Address = tuple[str, int]

SIP: Address = ("127.0.0.1", 5060)
CALLER: Address = ("127.0.0.9", 5070)
AGENT: Address = ("127.0.0.2", 7001)

SDP = (
    "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns= \r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"
    "m=audio 54400 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)

INVITE = (
    "INVITE sip:4001@127.0.0.1:5060;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.9:5070;rport;branch=z9hG4bK-{n}-bigpbx-7df2a0c1\r\n"
    "Record-Route: <sip:127.0.0.9:5070;lr;ftag=a7c31b;did=f3a.9d1>\r\n"
    "Max-Forwards: 68\r\n"
    'From: "Caller, A" <sip:+442071838750@127.0.0.9;user=phone>;tag=a7c31b{n}\r\n'
    "To: <sip:4001@127.0.0.1;user=phone>\r\n"
    "Call-ID: {n}-3848276298220188511@gateway.example.net\r\n"
    "CSeq: 314159 INVITE\r\n"
    "Contact: <sip:+442071838750@127.0.0.9:5070;transport=udp>\r\n"
    "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE, PRACK\r\n"
    "Supported: timer, replaces, 100rel, path\r\n"
    "User-Agent: Trunk Gateway 8.4.2 (build 20240311)\r\n"
    "Session-Expires: 1800;refresher=uac\r\n"
    "P-Asserted-Identity: <sip:+442071838750@gateway.example.net>\r\n"
    "Accept: application/sdp\r\n"
    "Date: Sat, 22 Nov 2025 05:13:26 GMT\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: {length}\r\n\r\n"
)


def invite(n: int) -> bytes:
    """An INVITE of 1.2 kB as a trunk gateway sends it."""
    return (INVITE.format(n=n, length=len(SDP)) + SDP).encode()


def parse_invite(*, quick: bool) -> dict[str, Any]:
    """Microseconds to parse an INVITE of 1.2 kB."""
    datagram = invite(10_000_001)
    rounds, each = (7, 2_000) if quick else (21, 5_000)
    found = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        for _ in range(each):
            parse(datagram)
        found.append((time.thread_time_ns() - began) / each / 1_000)
    return {
        "us": round(statistics.median(found), 2),
        "us_best": round(min(found), 2),
        "bytes": len(datagram),
    }


def signalling(*, quick: bool) -> dict[str, Any]:
    """Milliseconds of CPU for the signalling of one call of two legs."""
    stack = Stack()
    stack.calls(200)
    rounds, each = (5, 200) if quick else (15, 500)
    found = []
    for _ in range(rounds):
        stack.spent_ns = 0
        steps = stack.steps
        stack.calls(each)
        found.append(stack.spent_ns / each / 1_000_000)
        per_call = (stack.steps - steps) / each
    assert stack.faults == [], stack.faults
    return {
        "ms": round(statistics.median(found), 3),
        "ms_best": round(min(found), 3),
        "steps_per_call": round(per_call, 1),
        "datagrams_per_call": 13,
    }


class Stack:
    """A shard of calls with its transaction layer, and the two phones of one call at a time."""

    def __init__(self) -> None:
        self.centre = Centre(
            numbers={"4001": Number(queue="support", prompt="")},
            queues={"support": Queue(wrap_up_ms=0)},
            agents={
                "1001": Agent(
                    name="Desk 1", phone=f"sip:1001@{AGENT[0]}:{AGENT[1]}", queues=("support",)
                )
            },
            shards={"main": Shard(sip=SIP)},
        )
        self.now_ms = 1_000
        self.steps = 0
        self.spent_ns = 0
        self.faults: list[str] = []
        self._records: dict[str, Any] = {}
        self._machine = Calls("main", SIP, self.centre)
        self._layer = Layer(
            self._sent,
            self,
            self.now_ms,
            sent_by=f"{SIP[0]}:{SIP[1]}",
            on_fault=lambda error: self.faults.append(repr(error)),
        )
        self._out: deque[tuple[bytes, Address]] = deque()
        self._effects: deque[Any] = deque()
        self._performing = False
        self._drained: list[str] = []
        self._n = 0
        self._post(inputs.Configure(self.centre))

    def _sent(self, datagram: bytes, destination: Address) -> None:
        self._out.append((datagram, destination))

    # -- what the transaction layer tells ----------------------------------------------------------

    def on_request(self, msg: Message, source: Address) -> None:
        self._post(inputs.Requested(msg, source))

    def on_response(self, msg: Message, source: Address) -> None:
        self._post(inputs.Responded(msg, source))

    def on_timeout(self, branch: str, method: str) -> None:
        self._post(inputs.TimedOut(branch, method))

    # -- steps -------------------------------------------------------------------------------------

    def _post(self, event: Any) -> None:
        self.steps += 1
        tx = Step(
            self._records,
            shard="main",
            epoch=1,
            n=self.steps,
            now_ms=self.now_ms,
            wall_ms=1_700_000_000_000 + self.now_ms,
            random=os.urandom(32),
        )
        self._machine.step(tx, event)
        self._effects.extend(tx.effects)
        if self._performing:
            return
        self._performing = True
        while self._effects:
            self._perform(self._effects.popleft())
        self._performing = False

    def _perform(self, effect: Any) -> None:
        layer, now_ms = self._layer, self.now_ms
        match effect:
            case effects.Respond():
                layer.respond(effect.origin, effect.status, effect.datagram, now_ms)
            case effects.Request():
                layer.request(
                    effect.method, effect.branch, effect.datagram, effect.destination, now_ms
                )
            case effects.Send():
                layer.send(effect.datagram, effect.destination)
            case effects.Acked():
                layer.acked(effect.origin)
            case effects.ApplyMedia():
                session = effect.session
                sdps = {leg.name: SDP for leg in session.legs}
                ports = {leg.name: 30_000 for leg in session.legs}
                self._post(inputs.MediaApplied(session.id, session.counter, sdps, ports))
            case effects.Publish():
                self._drained.append(effect.key)

    # -- calls -------------------------------------------------------------------------------------

    def calls(self, count: int) -> None:
        """One after the other, each from INVITE to the last 200."""
        for _ in range(count):
            self._call()

    def _call(self) -> None:
        self._n += 1
        self.now_ms += 100
        request = Request(invite(10_000_000 + self._n))
        self._receive(request.datagram, CALLER)
        answer = self._take(b"SIP/2.0 200")
        self._receive(request.ack(answer), CALLER)
        offered = self._take(b"INVITE ")
        self._receive(respond(offered, 180, tag="desk"), AGENT)
        self._receive(respond(offered, 200, tag="desk", contact=AGENT, body=SDP), AGENT)
        self._take(b"ACK ")
        self._receive(request.follow("BYE", 314160, answer), CALLER)
        self._take(b"SIP/2.0 200")
        self._receive(respond(self._take(b"BYE "), 200), AGENT)
        self._spend(self._finish)

    def _finish(self) -> None:
        self._layer.tick(self.now_ms)
        if self._n % 10 == 0:
            self._post(inputs.Drained(self._drained))
            self._drained = []
        for key in [key for key in self._records if key.startswith("leg/")][:-2]:
            # What the timers of a running shard do to tombstones.
            self._records.pop(key)

    def _receive(self, datagram: bytes, source: Address) -> None:
        self._spend(lambda: self._layer.receive(datagram, source, self.now_ms))

    def _spend(self, work: Callable[[], None]) -> None:
        began = time.thread_time_ns()
        work()
        self.spent_ns += time.thread_time_ns() - began

    def _take(self, start: bytes) -> Received:
        """The next datagram that begins so; what came before it is passed over."""
        while self._out:
            datagram, _ = self._out.popleft()
            if datagram.startswith(start):
                return Received(datagram)
        raise AssertionError(f"no {start!r}")
