"""Where simulated people act: does what a step asks for, and wakes whoever is due."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from typing import assert_never

from loadtest import facts
from loadtest.caller import Caller
from loadtest.effects import (
    Acked,
    Ask,
    Direct,
    Effect,
    Event,
    Hears,
    Hush,
    Note,
    Press,
    Reply,
    Speak,
    Tick,
)
from loadtest.facts import AnyFact
from loadtest.io.audio import AudioEngine
from loadtest.io.station import Person

TICK_MS = 10
TOMB_MS = 32_000
"""A finished call's phone still acknowledges what is repeated (64*T1)."""
LINGER_MS = 1_200
"""After the last call: repeats of the other side's last messages still get their answer."""
ENDING_MS_MAX = 36_000
"""After everybody was told to hang up: a BYE that gets no answer is given up after 32 s."""


class Stage(ABC):
    """Everything happens on one event loop."""

    def __init__(self, audio: AudioEngine | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.audio = audio
        self._due: list[tuple[int, int, Person]] = []
        self._turn = 0
        self._handle: asyncio.TimerHandle | None = None
        self._next_tick_ms = 0
        self.faults: list[Exception] = []
        self.done = asyncio.Event()

    def now_ms(self) -> int:
        """The monotonic clock in whole milliseconds."""
        return time.monotonic_ns() // 1_000_000

    def failed(self, fault: Exception) -> None:
        """A step raised: a bug of the simulation, which makes its verdict worthless."""
        self.faults.append(fault)
        self.done.set()

    @abstractmethod
    def note(self, fact: AnyFact) -> None:
        """Somebody saw something."""

    @abstractmethod
    def bury(self, person: Person, now_ms: int) -> None:
        """A caller's call is over."""

    @abstractmethod
    def tick(self, now_ms: int) -> None:
        """Each TICK_MS."""

    # -- time --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Clocks run from now until `done`, or `cease`."""
        self._next_tick_ms = self.now_ms()
        if self.audio is not None:
            self.audio.begin()
        self._wake()

    def cease(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _wake(self) -> None:
        try:
            self._work()
        except Exception as fault:  # noqa: BLE001  # told by the report, ends the run
            self.failed(fault)

    def _work(self) -> None:
        now_ms = self.now_ms()
        if self.audio is not None:
            self.audio.tick()
        if now_ms >= self._next_tick_ms:
            self._next_tick_ms = now_ms + TICK_MS
            self.tick(now_ms)
        if self.done.is_set():
            return
        if self.audio is not None:
            self._handle = self.loop.call_at(
                max(self.audio.next_tick_s(), self.loop.time() + 0.0005), self._wake
            )
        else:
            self._handle = self.loop.call_later(TICK_MS / 1_000, self._wake)

    def wake_due(self, now_ms: int) -> None:
        """Whoever waited for this moment."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, person = heappop(self._due)
            if person.due_ms == due_ms:
                person.due_ms = None
                self.step(person, Tick())

    # -- steps and what they ask for ---------------------------------------------------------------

    def step(self, person: Person, event: Event) -> None:
        """Let somebody react to an event, and do what he wants done."""
        now_ms = self.now_ms()
        try:
            for effect in person.human.step(event, now_ms):
                self._perform(person, effect, now_ms)
        except Exception as fault:  # noqa: BLE001  # told by the report, ends the run
            self.failed(fault)
            return
        deadline_ms = person.human.deadline_ms
        if deadline_ms is not None and (person.due_ms is None or deadline_ms < person.due_ms):
            person.due_ms = deadline_ms
            self._turn += 1
            heappush(self._due, (deadline_ms, self._turn, person))

    def hush(self, person: Person) -> None:
        """He neither speaks nor hears any more; what he heard is noted."""
        if self.audio is None or person.line is None:
            return
        heard = self.audio.finish(person.line, person.human.who)
        if heard is not None:
            self.note(heard)

    def _perform(self, person: Person, effect: Effect, now_ms: int) -> None:
        layer, line, audio = person.station.layer, person.line, self.audio
        match effect:
            case Ask(method, branch, datagram, dst):
                layer.request(method, branch, datagram, dst, now_ms)
            case Reply(origin, status, datagram):
                layer.respond(origin, status, datagram, now_ms)
            case Direct(datagram, dst):
                layer.send(datagram, dst)
            case Acked(origin):
                layer.acked(origin)
            case Note(fact):
                self.note(fact)
                if isinstance(fact, facts.Over) and isinstance(person.human, Caller):
                    self.bury(person, now_ms)
            case Speak():
                if audio is not None and line is not None:
                    audio.speak(line, effect, self._hearer(person))
            case Hush():
                self.hush(person)
            case Press(_, digits):
                if line is not None:
                    line.press(digits)
            case _:
                assert_never(effect)

    def _hearer(self, person: Person) -> Callable[[str, str], None]:
        return lambda call, what: self.step(person, Hears(call, what))
