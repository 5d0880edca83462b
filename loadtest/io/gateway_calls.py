"""Calls that virtual gateways place on their time slots: real SIP and RTP, each from its own
address.

A call lasts from its 200 for its time, whoever speaks; then its gateway hangs up.
"""

import asyncio
import os
import random
from collections import deque
from collections.abc import Sequence

import msgspec

from loadtest import facts, identity
from loadtest.caller import Caller, CallerPlan
from loadtest.effects import Event, HangUp, Start
from loadtest.facts import AnyFact
from loadtest.gateway import Gateway
from loadtest.gateway_calls import Fate, Figures, Slot, Turns
from loadtest.io.audio import AudioEngine, Line
from loadtest.io.stage import ENDING_MS_MAX, LINGER_MS, TOMB_MS, Stage
from loadtest.io.station import CallersStation, Person
from loadtest.leg import Phone
from loadtest.options import Span
from sip.io.udp import Port
from sip.uri import Address

RING_MS_MAX = 180_000
"""A call that nobody answers is given up then (timer C of a proxy, RFC 3261 §16.6)."""
FOREVER_MS = 1 << 40


class CallPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are placed."""

    count: int
    to: Address
    numbers: tuple[str, ...]
    """Dialled in turn."""
    per_minute: float = 60.0
    hold: Span = Span(20_000, 60_000)
    seed: int = 1
    rtp: bool = True
    rtp_ports: tuple[int, int] = (40_000, 59_999)


class GatewayStation(CallersStation):
    """The SIP port of one gateway."""

    def __init__(self, calls: "GatewayCalls", gateway: Gateway, address: Address) -> None:
        super().__init__(calls, address)
        self.gateway = gateway
        self.sink: Port | None = None
        self._calls = calls

    def _receive(self, datagram: bytes, source: Address) -> None:
        if not self.gateway.is_dead:
            self._calls.stirred.add(self)
            super()._receive(datagram, source)

    def vanish(self) -> None:
        """As if it had never called anybody."""
        self.layer = self._new_layer()
        self.by_call.clear()
        self.by_token.clear()

    def close(self) -> None:
        super().close()
        if self.sink is not None:
            self.sink.close()


class _Call:
    def __init__(self, slot: Slot, person: Person) -> None:
        self.slot = slot
        self.person = person
        self.is_answered = False
        self.has_fate = False
        self.timer: asyncio.TimerHandle | None = None


class GatewayCalls(Stage):
    """Of all gateways of a run. `start` must run on its loop."""

    def __init__(self, plan: CallPlan, gateways: Sequence[Gateway]) -> None:
        super().__init__(AudioEngine(identity.Ears(), plan.rtp_ports) if plan.rtp else None)
        self.plan = plan
        self.figures = Figures()
        self.stirred: set[GatewayStation] = set()
        """Those whose transactions may have something to do."""
        self._turns = Turns(gateways)
        self._stations: list[GatewayStation] = []
        self._calls: dict[str, _Call] = {}
        """By Call-ID, in the order in which they were placed."""
        self._tombs: deque[tuple[int, Person]] = deque()
        self._draw = random.Random(plan.seed)  # behaviour, not secrets
        self._salt = os.urandom(5).hex()
        self._came = 0
        """Calls that were due so far, placed or not."""
        self._start_ms = 0
        self._ends_ms: int | None = None
        self._quiet_ms: int | None = None

    def listen(self, gateway: Gateway, address: Address) -> None:
        """Gateways in their order. Raises OSError."""
        self._stations.append(GatewayStation(self, gateway, address))

    def start(self) -> None:
        self._start_ms = self.now_ms()
        self.begin()

    def close(self) -> None:
        self.done.set()
        self.cease()
        for call in self._calls.values():
            _stop(call.timer)
        for station in self._stations:
            station.close()
        if self.audio is not None:
            self.audio.close_all()
            self.audio = None

    # -- calls -------------------------------------------------------------------------------------

    def _place(self) -> None:
        """The next call, if a slot is free."""
        number, self._came = self._came, self._came + 1
        slot = self._turns.take()
        if slot is None:
            self.figures.no_slot += 1
            return
        station = self._stations[slot.gateway - 1]
        voice = identity.caller(number)
        phone, line = self._phone(station, voice, number)
        token = f"{self._salt}{number + 0x10000:06x}"
        caller = Caller(
            CallerPlan(
                self.plan.numbers[number % len(self.plan.numbers)],
                patience_ms=FOREVER_MS,
                hangs_up=False,
            ),
            voice,
            who=f"{identity.Kind.CALLER.value}{number}",
            call=f"{token}@{station.address[0]}",
            token=token,
            phone=phone,
            target=self.plan.to,
        )
        person = Person(caller, station, line)
        station.expect(person, caller)
        call = self._calls[caller.call] = _Call(slot, person)
        self.figures.placed += 1
        self._hang_up_after(call, RING_MS_MAX)
        self.step(person, Start())

    def _phone(
        self, station: GatewayStation, voice: identity.Voice, number: int
    ) -> tuple[Phone, Line | None]:
        host = station.address[0]
        if self.audio is not None:
            ssrc = (int(self._salt, 16) + number * 2_654_435_761) & 0xFFFFFFFF
            line = self.audio.open(host, voice, ssrc)
            return Phone(station.address, line.address), line
        if station.sink is None:  # takes what comes, so that no ICMP tells the sender
            station.sink = Port.bind((host, 0))
        return Phone(station.address, station.sink.address, has_audio=False), None

    def _hang_up_after(self, call: _Call, ms: int) -> None:
        _stop(call.timer)
        call.timer = self.loop.call_later(ms / 1_000, self._hang_up, call)

    def _hang_up(self, call: _Call) -> None:
        self._end(call, Fate("hung_up" if call.is_answered else "given_up"))
        self.step(call.person, HangUp())

    def _end(self, call: _Call, fate: Fate) -> None:
        """The slot is free, and what becomes of the call is decided, if it was not yet."""
        _stop(call.timer)
        if not call.has_fate:
            call.has_fate = True
            self._turns.free(call.slot)
            self.figures.count(fate)

    def drop(self, gateway: int, span: int, why: str) -> int:
        """A line fails: its gateway clears the calls on it; how many there were."""
        found = [
            call
            for call in self._calls.values()
            if call.slot[:2] == (gateway, span) and not call.has_fate
        ]
        for call in found:
            self._end(call, Fate("dropped", why))
            self.step(call.person, HangUp())
        return len(found)

    def vanish(self, gateway: int, why: str) -> int:
        """A gateway dies: nobody hears of its calls again; how many there were."""
        found = {id_: call for id_, call in self._calls.items() if call.slot.gateway == gateway}
        lost = sum(not call.has_fate for call in found.values())
        for id_, call in found.items():
            self._end(call, Fate("dropped", why))
            call.person.due_ms = None
            self._close_line(call.person)
            del self._calls[id_]
        self._stations[gateway - 1].vanish()
        return lost

    async def hang_up_all(self) -> None:
        """End every call in order, and wait until all are over; none is placed any more."""
        self._ends_ms = self.now_ms() + ENDING_MS_MAX
        for call in list(self._calls.values()):
            if not call.has_fate:
                self._hang_up(call)
        await self.done.wait()

    # -- what happens ------------------------------------------------------------------------------

    def step(self, person: Person, event: Event) -> None:
        if isinstance(person.station, GatewayStation):
            self.stirred.add(person.station)
        super().step(person, event)

    def note(self, fact: AnyFact) -> None:
        call = self._calls.get(fact.call)
        match fact:
            case _ if call is None:
                return
            case facts.Answered():
                self.figures.answered += 1
                call.is_answered = True
                if not call.has_fate:
                    hold = self.plan.hold
                    self._hang_up_after(call, self._draw.randint(hold.min_ms, hold.max_ms))
            case facts.Refused(status=status):
                self._end(call, Fate("refused", str(status)))
            case facts.ByeReceived():
                self._end(call, Fate("left"))
            case facts.ByeSent():  # by itself: whoever calls had to hang up (a 481, no ACK)
                self._end(call, Fate("hung_up"))

    def bury(self, person: Person, now_ms: int) -> None:
        self.hush(person)
        self._close_line(person)
        call = self._calls.pop(person.call, None)
        if call is not None:
            self._end(call, Fate("hung_up"))
            self._tombs.append((now_ms + TOMB_MS, person))

    def _close_line(self, person: Person) -> None:
        if self.audio is not None and person.line is not None:
            self.audio.close(person.line)
            person.line = None

    def tick(self, now_ms: int) -> None:
        plan = self.plan
        passed_ms = now_ms - self._start_ms
        while (
            self._ends_ms is None
            and self._came < plan.count
            and self._came * 60_000 / plan.per_minute <= passed_ms
        ):
            self._place()
        self.wake_due(now_ms)
        while self._tombs and self._tombs[0][0] <= now_ms:
            person = self._tombs.popleft()[1]
            if isinstance(person.station, GatewayStation):
                person.station.forget(person)
        for station in list(self.stirred):
            next_ms = station.layer.next_ms
            if next_ms is None:
                self.stirred.discard(station)
            elif next_ms <= now_ms:
                station.layer.tick(now_ms)
        self._look_for_the_end(now_ms)

    def _look_for_the_end(self, now_ms: int) -> None:
        if self._ends_ms is None:
            return
        if self._calls:
            self._quiet_ms = None
        elif self._quiet_ms is None:
            self._quiet_ms = now_ms
        lingered = self._quiet_ms is not None and now_ms - self._quiet_ms >= LINGER_MS
        if now_ms >= self._ends_ms or lingered or not self.figures.placed:
            self.done.set()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
