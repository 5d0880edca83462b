"""Many simulated people in one process: their sockets, clocks and timers around pure steps.

All callers share one SIP port; each agent's phone has its own.
"""

import os
import random
import resource
from collections import deque
from heapq import heappop, heappush
from itertools import islice

import msgspec

from loadtest import facts, identity, scenario
from loadtest.agent import Agent, AgentPlan
from loadtest.caller import Answered, Caller, CallerPlan, Dialling, Talking, Waiting
from loadtest.effects import HangUp, Probe, Release, Start
from loadtest.facts import AnyFact
from loadtest.figures import figures
from loadtest.io.audio import AudioEngine, Line
from loadtest.io.stage import ENDING_MS_MAX, LINGER_MS, TOMB_MS, Stage
from loadtest.io.station import AgentStation, CallersStation, Person, Station
from loadtest.leg import Phone
from loadtest.options import AgentAddress, Options
from loadtest.report import Report, State
from loadtest.verdict import Verdict, judge
from sip.io.udp import Port
from sip.uri import Address

PROBE_LOOK = 16
"""Calls that are looked at for one that can be asked for a sign of life, in one tick."""
FLUSH_MS = 1_000


class Crowd(Stage):
    """The people of one run. Everything happens on one event loop; `start` must run on it."""

    def __init__(self, options: Options) -> None:
        super().__init__(AudioEngine(identity.Ears(), options.rtp_ports) if options.rtp else None)
        self.options = options
        self.log: list[AnyFact] = []
        self._draw = random.Random(options.seed)  # behaviour, not secrets
        self._salt = os.urandom(5).hex()
        self._made = 0
        self._file = open(options.log, "wb", buffering=1 << 16) if options.log else None  # noqa: PTH123, SIM115
        self._sink: Port | None = None
        self._agents: list[Person] = []
        self._callers: dict[str, Person] = {}
        self._callers_over = 0
        self._tombs: deque[tuple[int, Person]] = deque()
        self._to_come: list[tuple[int, int, Person]] = []
        self._flush_ms = 0
        self._strays = 0
        self._start_ms = self.now_ms()
        self._released = False
        self._probed: deque[str] | None = None
        self._closing_ms: int | None = None
        self._quiet_ms: int | None = None
        self._callers_station = CallersStation(self, (options.address, 0))

    # -- who is there ------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind everything (OSError when an address is taken), begin with calls and clock."""
        everybody = scenario.people(self.options, self._draw)
        for place, (plan, where) in enumerate(
            zip(everybody.agents, self.options.agents, strict=True)
        ):
            self._join(place, plan, where)
        self._start_ms = self.now_ms()
        for caller in everybody.callers:
            self._expect(caller)
        self.begin()

    def call(self, count: int, rate: float) -> None:
        """More callers, drawn as the others were, from now on at `rate` a second."""
        options = msgspec.structs.replace(self.options, rate=rate)
        after_ms = self.now_ms() - self._start_ms
        for plan in scenario.callers(
            options, self._draw, count=count, first=self._made, after_ms=after_ms
        ):
            self._expect(plan)

    def _join(self, place: int, plan: AgentPlan, where: AgentAddress) -> None:
        voice = identity.agent(self.options.first_voice + place)
        if not plan.reachable:
            self.note(
                facts.Joined(ms=self.now_ms(), who=plan.name, identity=voice.name, absent=True)
            )
            return
        station = AgentStation(self, where.address)
        phone, line = self._phone(station.address, voice, place)
        token = f"{self._salt}{place:04x}"
        station.person = Person(Agent(plan, voice, token=token, phone=phone), station, line)
        self._agents.append(station.person)
        self.step(station.person, Start())

    def _expect(self, plan: CallerPlan) -> None:
        number, self._made = self._made, self._made + 1
        voice = identity.caller(self.options.first_voice + number)
        token = f"{self._salt}{number + 0x10000:06x}"
        station = self._callers_station
        human = Caller(
            plan,
            voice,
            who=f"{identity.Kind.CALLER.value}{self.options.first_voice + number}",
            call=f"{token}@{station.address[0]}",
            token=token,
            phone=Phone(station.address, (station.address[0], 9), has_audio=False),
            target=self.options.target,
        )
        person = Person(human, station, None)
        heappush(self._to_come, (self._start_ms + plan.starts_ms, number, person))

    def _dial(self, person: Person) -> None:
        human = person.human
        assert isinstance(human, Caller)
        number = int(human.who[1:])
        phone, person.line = self._phone(self._callers_station.address, human.voice, number)
        human.leg.phone = phone
        self._callers_station.expect(person, human)
        self._callers[human.call] = person
        self.step(person, Start())

    def _phone(self, sip: Address, voice: identity.Voice, number: int) -> tuple[Phone, Line | None]:
        if self.audio is not None:
            ssrc = (int(self._salt, 16) + number * 2_654_435_761) & 0xFFFFFFFF
            line = self.audio.open(sip[0], voice, ssrc)
            return Phone(sip, line.address), line
        if self._sink is None:  # takes what comes, so that no ICMP tells the sender
            self._sink = Port.bind((self.options.address, 0))
        return Phone(sip, self._sink.address, has_audio=False), None

    # -- what becomes of them ----------------------------------------------------------------------

    def bury(self, person: Person, now_ms: int) -> None:
        """A caller's call is over; for a while he is there to acknowledge what is repeated."""
        self.hush(person)
        if self.audio is not None and person.line is not None:
            self.audio.close(person.line)
            self._strays += person.line.strays
            person.line = None
        if self._callers.pop(person.call, None) is not None:
            self._callers_over += 1
            self._tombs.append((now_ms + TOMB_MS, person))

    def note(self, fact: AnyFact) -> None:
        """Keep a fact, and write it to the log."""
        self.log.append(fact)
        if self._file is not None:
            self._file.write(facts.line(fact))

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        while self._to_come and self._to_come[0][0] <= now_ms:
            self._dial(heappop(self._to_come)[2])
        self.wake_due(now_ms)
        while self._tombs and self._tombs[0][0] <= now_ms:
            self._callers_station.forget(self._tombs.popleft()[1])
        if self._file is not None and now_ms >= self._flush_ms:
            self._flush_ms = now_ms + FLUSH_MS
            self._file.flush()
        if self._probed is not None:
            self._probe(self._probed)
        for station in self._stations():
            next_ms = station.layer.next_ms
            if next_ms is not None and next_ms <= now_ms:
                station.layer.tick(now_ms)
        self._look_for_the_end(now_ms)

    def _probe(self, turns: deque[str]) -> None:
        """Each tick another call is asked for a sign of life: all of them in turn."""
        for _ in range(min(len(turns), PROBE_LOOK)):
            call = turns.popleft()
            person = self._callers.get(call)
            if person is None:
                continue
            turns.append(call)
            known = len(self.log)
            self.step(person, Probe())
            if len(self.log) > known:
                return

    def _stations(self) -> list[Station]:
        return [self._callers_station, *(person.station for person in self._agents)]

    def _look_for_the_end(self, now_ms: int) -> None:
        options = self.options
        lasts_ms = None if options.duration_s is None else options.duration_s * 1_000
        if self._closing_ms is None and lasts_ms is not None:
            if now_ms - self._start_ms >= lasts_ms:
                self.stop()
            return
        if self._closing_ms is not None and now_ms - self._closing_ms > ENDING_MS_MAX:
            self.done.set()
            return
        if self._closing_ms is None and not self._made:
            return  # agents alone stay until they are told to go
        if self._to_come or not all(
            p.human.is_over for p in (*self._callers.values(), *self._agents)
        ):
            self._quiet_ms = None
        elif self._quiet_ms is None:
            self._quiet_ms = now_ms
        elif now_ms - self._quiet_ms >= LINGER_MS:
            self.done.set()

    # -- commands ----------------------------------------------------------------------------------

    def mark(self, name: str) -> int:
        """Remember this moment for the verdict; answers its time."""
        at_ms = self.audio.mark(name) if self.audio is not None else float(self.now_ms())
        self.note(facts.Mark(ms=round(at_ms), who="", name=name))
        return round(at_ms)

    def release(self) -> None:
        """Talkers who waited for it, and whoever will talk, end their talks after a talk time."""
        self._released = True
        for person in [*self._callers.values(), *self._agents, *(p for _, _, p in self._to_come)]:
            self.step(person, Release())

    def probe(self, *, on: bool) -> None:
        """Begin or cease to ask for signs of life, in the calls that there are now."""
        self._probed = deque(self._callers) if on else None

    def hang_up(self, count: int) -> int:
        """So many agents who talk, and hold nobody, hang up now; how many did."""
        talkers = (
            person
            for person in self._agents
            if isinstance(person.human, Agent)
            and (line := person.human.line) is not None
            and line.confirmed
            and not line.plan.hold_ms
        )
        leaving = list(islice(talkers, count))
        for person in leaving:
            self.step(person, HangUp())
        return len(leaving)

    def hang_up_all(self) -> None:
        """Everybody hangs up; whoever has not dialled never will."""
        self._to_come.clear()
        for person in [*self._callers.values(), *self._agents]:
            self.step(person, HangUp())

    def stop(self) -> None:
        """End the run: hang up, wait for the answers, then be done."""
        if self._closing_ms is None:
            self._closing_ms = self.now_ms()
            self.hang_up_all()

    @property
    def is_closing(self) -> bool:
        """The end of the run has begun."""
        return self._closing_ms is not None

    def state(self) -> State:
        """What goes on now."""
        callers = [p.human.state for p in self._callers.values() if isinstance(p.human, Caller)]
        agents = [p.human.state for p in self._agents if isinstance(p.human, Agent)]
        dialling = sum(isinstance(state, Dialling | Waiting) for state in callers)
        waiting = sum(isinstance(state, Answered) for state in callers)
        talking = sum(isinstance(state, Talking) for state in callers)
        return State(
            ms=self.now_ms(),
            dialling=dialling,
            waiting=waiting,
            talking=talking,
            over=self._callers_over,
            to_come=len(self._to_come),
            agents_idle=agents.count("idle"),
            agents_ringing=agents.count("ringing"),
            agents_talking=agents.count("talking"),
        )

    def verdict(self, *, ended: bool) -> Verdict:
        """The verdict so far; what is heard in calls that are up counts as far as it goes."""
        live: list[AnyFact] = []
        if self.audio is not None:
            live.append(facts.Late(ms=self.now_ms(), who="", late_ms=round(self.audio.late_ms_max)))
            for person in (*self._callers.values(), *self._agents):
                heard = person.line and self.audio.audio(person.line, person.human.who)
                if heard:
                    live.append(heard)
        return judge([*self.log, *live], ended=ended)

    def _late(self) -> facts.Late:
        late_ms = self.audio.late_ms_max if self.audio is not None else 0.0
        return facts.Late(ms=self.now_ms(), who="", late_ms=round(late_ms))

    def report(self, *, ended: bool = True) -> Report:
        """The verdict with the figures around it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        sip: dict[str, int] = {}
        for station in self._stations():
            for name, count in station.layer.counters.items():
                sip[name] = sip.get(name, 0) + count
        lines = [person.line for person in (*self._callers.values(), *self._agents) if person.line]
        audio = self.audio
        return Report(
            verdict=self.verdict(ended=ended),
            seed=self.options.seed,
            seconds=round((self.now_ms() - self._start_ms) / 1_000, 3),
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
            late_ms_max=round(audio.late_ms_max, 1) if audio else 0.0,
            frames_skipped=audio.skipped if audio else 0,
            nice=os.getpriority(os.PRIO_PROCESS, 0),
            sip=sip,
            figures=figures(self.log),
            rtp_received=audio.packets if audio else 0,
            rtp_strays=self._strays + sum(line.strays for line in lines),
        )

    def close(self) -> None:
        """Give all ports and files up; the log is whole now."""
        self.done.set()
        self.note(self._late())
        self.cease()
        for station in self._stations():
            station.close()
        if self._sink is not None:
            self._sink.close()
        if self.audio is not None:
            self.audio.close_all()
            self.audio = None
        if self._file is not None:
            self._file.close()
