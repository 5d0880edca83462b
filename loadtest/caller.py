"""A caller: dials, waits as long as his patience lasts, talks to an agent, and somebody hangs up.

He knows an agent by his ears: only the voice of one ends his waiting. Without audio (SIPp's
built-in phones, signalling benchmarks) he cannot know, and takes the 200 for the agent.
"""

import zlib
from dataclasses import dataclass
from typing import assert_never

from loadtest import facts
from loadtest.effects import (
    Ask,
    Direct,
    Effect,
    Event,
    Expired,
    HangUp,
    Hears,
    Note,
    Press,
    Probe,
    Received,
    Release,
    Start,
    Tick,
)
from loadtest.identity import Kind, Voice
from loadtest.leg import End, Leg, Phone
from sip import dialog as dialogs
from sip.message import Message
from sip.uri import Address, SipError

KEYS_APART_MS = 160
"""A digit of 100 ms, its end repeated twice."""


@dataclass(frozen=True)
class CallerPlan:
    """What a caller means to do. Times in ms."""

    number: str
    """Whom he dials; "NUMBER@HOST:PORT" goes there and not to the common target."""
    starts_ms: int = 0
    """From the start of the run."""
    patience_ms: int = 60_000
    """He gives up if he has not heard an agent so long after dialling."""
    talk_ms: int = 5_000
    """From the first sound of the agent to his hanging up..."""
    hangs_up: bool = True
    """...unless he leaves that to the agent."""
    waits_for_release: bool = False
    """His talk time begins with Release, if he talks before."""
    digits: str = ""
    digits_ms: int = 500
    """He presses `digits` so long after the answer."""
    hold_ms: int | None = None
    """He holds the call so long after he heard the agent..."""
    held_ms: int = 2_000
    """...for so long."""
    offerless: bool = False
    """His INVITE has no SDP; the ACK has."""
    priority: int = 0
    """What the centre gives his call; for the verdict on the order only."""


@dataclass(frozen=True)
class Waiting:
    """He has not dialled."""


@dataclass(frozen=True)
class Dialling:
    """The INVITE is out and has no final answer."""

    branch: str
    invite: bytes
    proceeding: bool = False
    gives_up: bool = False
    """He hung up: CANCEL as soon as there was a provisional answer (RFC 3261 §9.1)..."""
    cancelled: bool = False
    """...and it was sent."""


@dataclass(frozen=True)
class Answered:
    """The 200 came and was acknowledged; he listens for an agent."""


@dataclass(frozen=True)
class Talking:
    """He has heard an agent."""


@dataclass(frozen=True)
class Gone:
    """He has hung up, was hung up on, or was refused; the leg knows what is still to come."""


State = Waiting | Dialling | Answered | Talking | Gone


class Caller:
    """One call of one caller: `step` is all there is; `deadline_ms` says when Tick is due."""

    def __init__(
        self,
        plan: CallerPlan,
        voice: Voice,
        *,
        who: str,
        call: str,
        token: str,
        phone: Phone,
        target: Address,
    ) -> None:
        own = "@" in plan.number
        uri = f"sip:{plan.number}" if own else f"sip:{plan.number}@{_host(target)}"
        self.plan = plan
        self.voice = voice
        self.who = who
        self.call = call
        self.token = token
        self.state: State = Waiting()
        self.leg = Leg(
            who,
            call,
            token,
            phone,
            dialogs.outgoing(call, f"{token}c", f"sip:{who}@{phone.sent_by}", uri, uri),
            made=True,
        )
        self._released = False
        self._agenda: dict[str, int] = {}

    @property
    def is_over(self) -> bool:
        """Nothing more will happen; the transaction layer may still repeat an ACK."""
        return self.leg.end is End.OVER

    @property
    def deadline_ms(self) -> int | None:
        """When the next Tick is due."""
        times = list(self._agenda.values())
        if self.leg.deadline_ms is not None:
            times.append(self.leg.deadline_ms)
        return min(times, default=None)

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """What the caller does about `event`."""
        out: list[Effect] = []
        match event:
            case Start():
                self._dial(now_ms, out)
            case Received(msg, source) if msg.method:
                self._requested(msg, source, now_ms, out)
            case Received(msg):
                self._responded(msg, now_ms, out)
            case Expired(branch, method):
                self._expired(branch, method, now_ms, out)
            case Hears(_, what):
                self._hears(what, now_ms, out)
            case Tick():
                self._tick(now_ms, out)
            case Release():
                self._released = True
                if isinstance(self.state, Talking) and self.plan.waits_for_release:
                    self._plan_end(now_ms)
            case Probe():
                if isinstance(self.state, Answered | Talking):
                    self.leg.probe(now_ms, out)
            case HangUp():
                self._leave(now_ms, out)
            case _:
                assert_never(event)
        if self.leg.end is not End.UP:
            self.state = Gone()
            self._agenda.clear()
        return out

    # -- setting up --------------------------------------------------------------------------------

    def _dial(self, now_ms: int, out: list[Effect]) -> None:
        leg = self.leg
        branch = leg.branch()
        invite = dialogs.request(
            leg.dialog,
            "INVITE",
            cseq=leg.dialog.local_cseq,
            branch=branch,
            sent_by=leg.phone.sent_by,
            contact=leg.contact,
            body="" if self.plan.offerless else leg.offer(),
        )
        self.state = Dialling(branch, invite)
        self._agenda["patience"] = now_ms + self.plan.patience_ms
        out.append(
            Note(
                facts.Invited(
                    ms=now_ms,
                    who=self.who,
                    call=self.call,
                    number=self.plan.number,
                    identity=self.voice.name,
                    priority=self.plan.priority,
                    has_audio=leg.phone.has_audio,
                )
            )
        )
        out.append(Ask("INVITE", branch, invite, leg.dialog.next_hop))

    def _responded(self, msg: Message, now_ms: int, out: list[Effect]) -> None:
        state = self.state
        if not (isinstance(state, Dialling) and msg.branch == state.branch):
            if _is_other_fork(msg, self.leg):
                self._refuse_fork(msg, now_ms, out)
            else:
                self.leg.response(msg, now_ms, out)
        elif msg.cseq_method != "INVITE":
            pass  # the 200 to our CANCEL
        elif msg.status < 200:
            if msg.status > 100:
                fact = facts.Ringing(ms=now_ms, who=self.who, call=self.call, status=msg.status)
                out.append(Note(fact))
            self.state = Dialling(state.branch, state.invite, True, state.gives_up, state.cancelled)
            if state.gives_up and not state.cancelled:
                self._cancel(now_ms, out)
        elif msg.status < 300:
            self._answered(msg, state, now_ms, out)
        else:
            self._refused(msg.status, now_ms, out)

    def _answered(self, msg: Message, state: Dialling, now_ms: int, out: list[Effect]) -> None:
        leg = self.leg
        dialogs.answered(leg.dialog, msg)
        body = ""
        leg.theirs = msg.body
        if self.plan.offerless:
            try:
                body = leg.answer(msg.body)
            except SipError as refused:
                leg.odd(f"SDP: {refused}", now_ms, out)
        leg.ack(state.branch, leg.dialog.local_cseq, out, body)
        out.append(Note(facts.Answered(ms=now_ms, who=self.who, call=self.call)))
        self.state = Answered()
        if state.gives_up:  # the CANCEL came too late
            leg.hang_up(now_ms, out)
            return
        leg.speak(now_ms, out)
        if self.plan.digits:
            self._agenda["digits"] = now_ms + self.plan.digits_ms
        if not leg.phone.has_audio:
            self._connected(now_ms)

    def _refused(self, status: int, now_ms: int, out: list[Effect]) -> None:
        out.append(Note(facts.Refused(ms=now_ms, who=self.who, call=self.call, status=status)))
        self.leg.over(now_ms, out)

    def _refuse_fork(self, msg: Message, now_ms: int, out: list[Effect]) -> None:
        """A 2xx from another branch of a fork: ACK it and hang it up (RFC 3261 §13.2.2.4)."""
        mine, sent_by = self.leg.dialog, self.leg.phone.sent_by
        other = dialogs.outgoing(
            self.call, mine.local_tag, mine.local_uri, mine.remote_uri, mine.target
        )
        dialogs.answered(other, msg)
        branch = f"z9hG4bK{self.token}.fork.{zlib.crc32(msg.to_tag.encode()):x}"
        ack = dialogs.request(other, "ACK", cseq=1, branch=f"{branch}.ack", sent_by=sent_by)
        bye = dialogs.request(other, "BYE", cseq=2, branch=branch, sent_by=sent_by)
        out.append(Direct(ack, other.next_hop))
        out.append(Ask("BYE", branch, bye, other.next_hop))
        self.leg.odd("200 of a fork", now_ms, out)

    def _cancel(self, now_ms: int, out: list[Effect]) -> None:
        state = self.state
        assert isinstance(state, Dialling)
        self.state = Dialling(state.branch, state.invite, True, True, True)
        out.append(Note(facts.Cancelled(ms=now_ms, who=self.who, call=self.call)))
        datagram = dialogs.cancel(state.invite)
        out.append(Ask("CANCEL", state.branch, datagram, self.leg.dialog.next_hop))

    def _expired(self, branch: str, method: str, now_ms: int, out: list[Effect]) -> None:
        if isinstance(self.state, Dialling) and branch == self.state.branch:
            if method == "INVITE":
                self._refused(408, now_ms, out)
        else:
            self.leg.expired(branch, method, now_ms, out)

    # -- in the call -------------------------------------------------------------------------------

    def _requested(self, msg: Message, source: Address, now_ms: int, out: list[Effect]) -> None:
        if isinstance(self.state, Waiting | Dialling):
            if msg.method != "ACK":
                self.leg.reply(dialogs.origin(msg, source), 481, out)
            return
        self.leg.request(msg, source, now_ms, out)

    def _hears(self, what: str, now_ms: int, out: list[Effect]) -> None:
        out.append(Note(facts.Heard(ms=now_ms, who=self.who, call=self.call, what=what)))
        if isinstance(self.state, Answered) and what.startswith(Kind.AGENT.value):
            self._connected(now_ms)

    def _connected(self, now_ms: int) -> None:
        self.state = Talking()
        self._agenda.pop("patience", None)
        if self._released or not self.plan.waits_for_release:
            self._plan_end(now_ms)
        if self.plan.hold_ms is not None:
            self._agenda["hold"] = now_ms + self.plan.hold_ms

    def _plan_end(self, now_ms: int) -> None:
        if self.plan.hangs_up:
            self._agenda["hang_up"] = now_ms + self.plan.talk_ms

    def _tick(self, now_ms: int, out: list[Effect]) -> None:
        self.leg.tick(now_ms, out)
        for what in [what for what, due_ms in self._agenda.items() if due_ms <= now_ms]:
            self._agenda.pop(what, None)
            match what:
                case "patience":
                    out.append(Note(facts.GaveUp(ms=now_ms, who=self.who, call=self.call)))
                    self._leave(now_ms, out)
                case "hang_up":
                    self._leave(now_ms, out)
                case "digits":
                    out.append(
                        Note(
                            facts.Pressed(
                                ms=now_ms,
                                who=self.who,
                                call=self.call,
                                digits=self.plan.digits,
                            )
                        )
                    )
                    out.append(Press(self.call, self.plan.digits))
                case "hold":
                    self.leg.hold(now_ms, out, hold=True)
                    self._agenda["resume"] = now_ms + self.plan.held_ms
                case "resume":
                    self.leg.hold(now_ms, out, hold=False)

    def _leave(self, now_ms: int, out: list[Effect]) -> None:
        """Hang up, in whatever state."""
        state = self.state
        match state:
            case Waiting():
                self.leg.over(now_ms, out)
            case Dialling():
                if state.gives_up:
                    return
                self.state = Dialling(state.branch, state.invite, state.proceeding, True, False)
                if state.proceeding:
                    self._cancel(now_ms, out)
            case Answered() | Talking():
                self.leg.hang_up(now_ms, out)
            case Gone():
                pass
            case _:
                assert_never(state)


def _is_other_fork(msg: Message, leg: Leg) -> bool:
    return (
        msg.cseq_method == "INVITE"
        and 200 <= msg.status < 300
        and msg.cseq == 1
        and msg.to_tag != leg.dialog.remote_tag
    )


def _host(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
