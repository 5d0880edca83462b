"""An agent's phone: one line, which rings, is answered or not, talks, and hangs up.

The phone has exactly one line. Another INVITE while it rings or talks gets 486 and is logged as a
double offer; one that comes while the last call's BYE is on its way is welcome: the line is free.
"""

from dataclasses import dataclass
from typing import assert_never

from loadtest import facts
from loadtest.effects import (
    Effect,
    Event,
    Expired,
    HangUp,
    Hears,
    Note,
    Probe,
    Received,
    Release,
    Reply,
    Start,
    Tick,
)
from loadtest.identity import Kind, Voice
from loadtest.leg import ALLOW, End, Leg, Phone, token_of
from sip import dialog as dialogs
from sip.dialog import Origin
from sip.message import Message
from sip.uri import Address, SipError, uri_of, user_of

CLOSING_MAX = 64
"""Calls of a phone that await the end of their BYE; the oldest is dropped and logged."""


@dataclass(frozen=True)
class OfferPlan:
    """What an agent does with one offer. Times in ms."""

    ring_ms: int = 500
    """He picks up, or declines, so long after the ringing began."""
    decline: int = 0
    """With this status (486, 603, 480); 0: he picks up."""
    ignores: bool = False
    """He lets it ring."""
    talk_ms: int = 5_000
    """From picking up (or from Release) to hanging up..."""
    hangs_up: bool = False
    """...unless he leaves that to the caller."""
    waits_for_release: bool = False
    hold_ms: int | None = None
    """He holds the call so long after he picked up..."""
    held_ms: int = 2_000
    """...for so long."""


@dataclass(frozen=True)
class AgentPlan:
    """An agent. `offers` are his answers to the first, second, ... offer, and then again."""

    name: str
    offers: tuple[OfferPlan, ...] = (OfferPlan(),)
    busy: bool = False
    """His phone is off the hook: 486 to everything."""
    reachable: bool = True
    """Otherwise nothing listens at his address."""


@dataclass
class Line:
    """The call on the phone's line."""

    leg: Leg
    origin: Origin
    offer: str
    plan: OfferPlan
    picked_up: bool = False
    confirmed: bool = False


class Agent:
    """One agent's phone. `step` is all there is; `deadline_ms` says when to call it with Tick."""

    def __init__(self, plan: AgentPlan, voice: Voice, *, token: str, phone: Phone) -> None:
        self.plan = plan
        self.voice = voice
        self.who = plan.name
        self.phone = phone
        self.line: Line | None = None
        self._token = token
        self._offers = 0
        self._released = False
        self._closing: dict[str, Leg] = {}
        self._agenda: dict[str, int] = {}

    @property
    def state(self) -> str:
        """ "idle", "ringing" or "talking"."""
        if self.line is None:
            return "idle"
        return "talking" if self.line.picked_up else "ringing"

    @property
    def is_over(self) -> bool:
        """No call is up, and none awaits the end of its BYE."""
        return self.line is None and not self._closing

    @property
    def deadline_ms(self) -> int | None:
        """When the next Tick is due."""
        times = list(self._agenda.values())
        if self.line is not None and self.line.leg.deadline_ms is not None:
            times.append(self.line.leg.deadline_ms)
        return min(times, default=None)

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """What the agent and his phone do about `event`."""
        out: list[Effect] = []
        match event:
            case Start():
                out.append(
                    Note(
                        facts.Joined(
                            ms=now_ms,
                            who=self.who,
                            identity=self.voice.name,
                            has_audio=self.phone.has_audio,
                        )
                    )
                )
            case Received(msg, source) if msg.method:
                self._requested(msg, source, now_ms, out)
            case Received(msg):
                leg = self._leg(msg.call_id)
                if leg is not None:
                    leg.response(msg, now_ms, out)
            case Expired(branch, method):
                legs = [*self._closing.values(), *([self.line.leg] if self.line else [])]
                for leg in legs:
                    if leg.token == token_of(branch):
                        leg.expired(branch, method, now_ms, out)
            case Hears(call, what):
                out.append(Note(facts.Heard(ms=now_ms, who=self.who, call=call, what=what)))
            case Tick():
                self._tick(now_ms, out)
            case Release():
                self._released = True
                if self.line is not None and self.line.picked_up:
                    self._plan_end(self.line, now_ms)
            case Probe():
                if self.line is not None and self.line.confirmed:
                    self.line.leg.probe(now_ms, out)
            case HangUp():
                self._leave(now_ms, out)
            case _:
                assert_never(event)
        self._settle(now_ms, out)
        return out

    def _leg(self, call: str) -> Leg | None:
        if self.line is not None and self.line.leg.call == call:
            return self.line.leg
        return self._closing.get(call)

    def _settle(self, now_ms: int, out: list[Effect]) -> None:
        """A call whose BYE went or came has left the line."""
        for call in [call for call, leg in self._closing.items() if leg.end is End.OVER]:
            del self._closing[call]
        line = self.line
        if line is None or line.leg.end is End.UP:
            return
        self.line = None
        self._agenda.clear()
        if line.leg.end is End.BYE_SENT:
            if len(self._closing) >= CLOSING_MAX:
                forgotten = self._closing.pop(next(iter(self._closing)))
                forgotten.odd("forgotten, its BYE was never answered", now_ms, out)
            self._closing[line.leg.call] = line.leg

    # -- what comes --------------------------------------------------------------------------------

    def _requested(self, msg: Message, source: Address, now_ms: int, out: list[Effect]) -> None:
        leg = self._leg(msg.call_id)
        if msg.method == "CANCEL":
            self._cancelled(msg, source, now_ms, out)
        elif msg.to_tag or msg.method == "ACK":
            self._in_dialog(leg, msg, source, now_ms, out)
        elif msg.method == "INVITE":
            self._offered(leg, msg, source, now_ms, out)
        else:
            origin = dialogs.origin(msg, source)
            status = 200 if msg.method == "OPTIONS" else 501
            self._refuse(origin, status, out)

    def _in_dialog(
        self, leg: Leg | None, msg: Message, source: Address, now_ms: int, out: list[Effect]
    ) -> None:
        if leg is None:
            if msg.method != "ACK":
                self._refuse(dialogs.origin(msg, source), 481, out)
            return
        leg.request(msg, source, now_ms, out)
        line = self.line
        if line is not None and line.leg is leg and line.picked_up and not line.confirmed:
            line.confirmed = leg.unacked is None
            if line.confirmed:
                out.append(Note(facts.Confirmed(ms=now_ms, who=self.who, call=leg.call)))

    def _offered(
        self, leg: Leg | None, msg: Message, source: Address, now_ms: int, out: list[Effect]
    ) -> None:
        origin = dialogs.origin(msg, source)
        if leg is not None:  # the same INVITE by another way (RFC 3261 §8.2.2.2)
            leg.odd("INVITE once more, by another branch", now_ms, out)
            self._refuse(origin, 482, out)
            return
        if self.line is not None:
            out.append(
                Note(
                    facts.DoubleOffer(
                        ms=now_ms,
                        who=self.who,
                        call=msg.call_id,
                        busy=self.line.leg.call,
                        state=self.state,
                    )
                )
            )
            self._refuse(origin, 486, out)
            return
        plan = self.plan.offers[self._offers % len(self.plan.offers)]
        self._offers += 1
        token = f"{self._token}{self._offers:x}"
        leg = Leg(
            self.who,
            msg.call_id,
            token,
            self.phone,
            dialogs.incoming(msg, source, f"{token}a"),
            made=False,
        )
        shown = _shown(msg)
        out.append(Note(facts.Offered(ms=now_ms, who=self.who, call=msg.call_id, shown=shown)))
        self.line = Line(leg, origin, msg.body, plan)
        if self.plan.busy:
            self._decline(self.line, 486, now_ms, out)
            return
        leg.reply(origin, 180, out)
        out.append(Note(facts.Ringing(ms=now_ms, who=self.who, call=msg.call_id, status=180)))
        if not plan.ignores:
            self._agenda["pick_up"] = now_ms + plan.ring_ms

    def _cancelled(self, msg: Message, source: Address, now_ms: int, out: list[Effect]) -> None:
        origin = dialogs.origin(msg, source)
        line = self.line
        is_ours = line is not None and (
            line.origin.branch == msg.branch and line.origin.sent_by == msg.sent_by
        )
        if line is None or not is_ours:
            self._refuse(origin, 481, out)
            return
        line.leg.reply(origin, 200, out)
        if not line.picked_up:
            out.append(Note(facts.Cancelled(ms=now_ms, who=self.who, call=line.leg.call)))
            line.leg.reply(line.origin, 487, out)
            line.leg.over(now_ms, out)

    def _refuse(self, origin: Origin, status: int, out: list[Effect]) -> None:
        tag = f"{self._token}x{origin.cseq:x}"
        datagram = dialogs.respond(origin, status, to_tag=tag, headers=(ALLOW,))
        out.append(Reply(origin, status, datagram))

    # -- what the agent does -----------------------------------------------------------------------

    def _tick(self, now_ms: int, out: list[Effect]) -> None:
        if self.line is not None:
            self.line.leg.tick(now_ms, out)
        for what in [what for what, due_ms in self._agenda.items() if due_ms <= now_ms]:
            self._agenda.pop(what, None)
            line = self.line
            if line is None:
                return
            match what:
                case "pick_up":
                    if line.plan.decline:
                        self._decline(line, line.plan.decline, now_ms, out)
                    else:
                        self._pick_up(line, now_ms, out)
                case "hang_up":
                    line.leg.hang_up(now_ms, out)
                case "hold":
                    line.leg.hold(now_ms, out, hold=True)
                    self._agenda["resume"] = now_ms + line.plan.held_ms
                case "resume":
                    line.leg.hold(now_ms, out, hold=False)

    def _decline(self, line: Line, status: int, now_ms: int, out: list[Effect]) -> None:
        call = line.leg.call
        out.append(Note(facts.Declined(ms=now_ms, who=self.who, call=call, status=status)))
        line.leg.reply(line.origin, status, out)
        line.leg.over(now_ms, out)

    def _pick_up(self, line: Line, now_ms: int, out: list[Effect]) -> None:
        leg = line.leg
        try:
            body = leg.answer(line.offer) if line.offer else leg.offer()
        except SipError as refused:
            self._decline(line, refused.status, now_ms, out)
            return
        line.picked_up = True
        leg.await_ack(line.origin, now_ms, awaits_answer=not line.offer)
        leg.reply(line.origin, 200, out, body=body)
        out.append(Note(facts.Answered(ms=now_ms, who=self.who, call=leg.call)))
        leg.speak(now_ms, out)
        if self._released or not line.plan.waits_for_release:
            self._plan_end(line, now_ms)
        if line.plan.hold_ms is not None:
            self._agenda["hold"] = now_ms + line.plan.hold_ms

    def _plan_end(self, line: Line, now_ms: int) -> None:
        if line.plan.hangs_up and "hang_up" not in self._agenda:
            self._agenda["hang_up"] = now_ms + line.plan.talk_ms

    def _leave(self, now_ms: int, out: list[Effect]) -> None:
        line = self.line
        if line is None:
            return
        if line.picked_up:
            line.leg.hang_up(now_ms, out)
        else:
            self._decline(line, 480, now_ms, out)


def _shown(msg: Message) -> str:
    """The caller's name, if the phone's display shows one of our callers ("c17")."""
    user = user_of(uri_of(msg.get("from")))
    is_ours = user[:1] == Kind.CALLER.value and user[1:].isdecimal()
    return user if is_ours else ""
