"""In which state each call was when a fault struck, and what became of it: by its phones' logs."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from loadtest import facts
from loadtest.facts import AnyFact
from loadtest.verdict import FAULT_MS, Verdict, around, lost_calls
from loadtest.view import NEVER, AgentCall, AgentPhone, CallerCall, Talk, View, gather, talks

STATES = (
    "calling",
    "prompt",
    "waiting",
    "offered",
    "talking",
    "held",
    "hanging_up",
    "wrap_up",
)
"""calling: the INVITE has no final answer; offered: an agent's phone rings for the call; held: by
the agent, the caller hears music; hanging_up: a BYE is under way on one side or the other; wrap_up
is an agent's: his call has just ended."""


class Fate(msgspec.Struct, frozen=True):
    """One call, or one agent in wrap-up, and how the fault went for him.

    `noticed_ms` is what he could notice: the gap in what he heard; of a call being set up, the time
    to its 200; of one that ends, until both sides knew; of wrap-up, what the next offer came late.
    None: nothing of that could be measured.
    """

    state: str
    who: str
    survived: bool
    noticed_ms: int | None


class Cell(msgspec.Struct, frozen=True):
    """All fates of one state under one fault."""

    calls: int = 0
    survived: int = 0
    noticed_ms: int | None = None
    """By whoever noticed most."""


def cells(fates: Iterable[Fate]) -> dict[str, Cell]:
    """By state; a state in which nobody was is missing."""
    return merged({fate.state: Cell(1, int(fate.survived), fate.noticed_ms)} for fate in fates)


def merged(many: Iterable[Mapping[str, Cell]]) -> dict[str, Cell]:
    """The cells of several runs under the same fault as one."""
    found: dict[str, Cell] = {}
    for one in many:
        for state, cell in one.items():
            old = found.get(state, Cell())
            most = [ms for ms in (old.noticed_ms, cell.noticed_ms) if ms is not None]
            found[state] = Cell(
                old.calls + cell.calls, old.survived + cell.survived, max(most, default=None)
            )
    return {state: found[state] for state in STATES if state in found}


def fates(
    log: Sequence[AnyFact],
    verdict: Verdict,
    mark: str,
    *,
    answered_ms: float,
    wrap_up_ms: int,
) -> list[Fate]:
    """Of everybody in this log of one shard's phones; `verdict` is on the whole run.

    `answered_ms`: when the shard answered again. Who called into its silence is calling, too.
    """
    view = gather(log)
    struck = next((fact for fact in view.marks if fact.name == mark), None)
    if struck is None:
        return []
    moment = _Moment(view, struck, verdict, answered_ms)
    found = [fate for call in view.callers.values() if (fate := moment.caller(call))]
    found += [
        fate for phone in view.agents.values() if (fate := moment.wrapping_up(phone, wrap_up_ms))
    ]
    return found


class _Moment:
    """The moment of the fault, and who was lost in the run."""

    def __init__(
        self, view: View, struck: facts.Mark, verdict: Verdict, answered_ms: float
    ) -> None:
        self.mark = struck
        self.ms = struck.ms
        self.answered_ms = answered_ms
        by_voice, _ = view.by_identity()
        self.lost = lost_calls(verdict.lost, view, by_voice)
        self.lost |= {double.call for double in verdict.doubled}
        self.lost |= {passed.call for passed in verdict.overtaken}
        self.offers = list(view.offers.values())
        self.talks: dict[str, list[Talk]] = {}
        for talk in talks(view):
            self.talks.setdefault(talk.caller.call, []).append(talk)

    def caller(self, call: CallerCall) -> Fate | None:
        """None: his call had not begun, or was over."""
        if call.invited_ms > max(self.ms, self.answered_ms):
            return None
        if call.answered_ms > self.ms:
            if call.end.over_ms <= self.ms:
                return None
            took_ms = None if call.answered_ms == NEVER else call.answered_ms - call.invited_ms
            return self._fate("calling", call, took_ms)
        talk = self._talk(call)
        agent = talk.agent if talk else None
        if agent is not None and self._is_ending(call, agent):
            return self._fate("hanging_up", call, _ending_ms(call, agent))
        if call.end.hung_up_ms <= self.ms:
            if call.end.bye_sent_ms <= self.ms < call.end.bye_answered_ms:
                return self._fate("hanging_up", call, _ending_ms(call, agent))
            return None
        if agent is not None:
            return self._in_talk(call, agent)
        return self._fate(self._unconnected(call), call, self._gap(call))

    def _talk(self, call: CallerCall) -> Talk | None:
        """The talk that the call was in, or whose end was under way."""
        begun = [t for t in self.talks.get(call.call, []) if t.sound.first_ms <= self.ms]
        return begun[-1] if begun else None

    def _is_ending(self, call: CallerCall, agent: AgentCall) -> bool:
        ends = (agent.end, call.end)
        sent_ms = min(end.bye_sent_ms for end in ends)
        known_ms = max(_known_ms(agent), _known_ms(call))
        return sent_ms <= self.ms < known_ms

    def _in_talk(self, call: CallerCall, agent: AgentCall) -> Fate | None:
        until = min(self.ms + FAULT_MS, call.end.hung_up_ms, agent.end.hung_up_ms)
        held = [hold for hold in (*agent.holds, *call.holds) if hold.ms <= self.ms]
        if held and max(held, key=lambda hold: hold.ms).hold:
            return self._fate("held", call, _worst(around(call, self.mark, until)))
        both = [*around(call, self.mark, until), *around(agent, self.mark, until)]
        return self._fate("talking", call, _worst(both))

    def _unconnected(self, call: CallerCall) -> str:
        if any(self._rings_for(offer, call) for offer in self.offers):
            return "offered"
        heard = [sound for sound in call.ears.sounds if sound.first_ms <= self.ms]
        return "prompt" if not heard or heard[-1].what == "prompt" else "waiting"

    def _rings_for(self, offer: AgentCall, call: CallerCall) -> bool:
        until = min(offer.answered_ms, offer.cancelled_ms, offer.end.over_ms)
        if not offer.offered_ms <= self.ms < until:
            return False
        if offer.shown:
            return offer.shown == call.who
        return any(talk.agent is offer for talk in self.talks.get(call.call, []))

    def _gap(self, call: CallerCall) -> int | None:
        """None for one who was connected soon after: that he notices, too."""
        until = min(self.ms + FAULT_MS, call.end.hung_up_ms)
        if any(talk.sound.first_ms <= until for talk in self.talks.get(call.call, [])):
            return None
        return _worst(around(call, self.mark, until))

    def _fate(self, state: str, call: CallerCall, noticed_ms: int | None) -> Fate:
        return Fate(state, call.who, call.call not in self.lost, noticed_ms)

    def wrapping_up(self, phone: AgentPhone, wrap_up_ms: int) -> Fate | None:
        """He survives when he is offered a call again; somebody must wait for that."""
        ended = [call for call in phone.calls if call.end.hung_up_ms <= self.ms]
        if not ended or ended[-1].answered_ms == NEVER:
            return None
        last = ended[-1]
        later = [call.offered_ms for call in phone.calls if call.offered_ms > last.offered_ms]
        ready_ms = last.end.hung_up_ms + wrap_up_ms
        if ready_ms <= self.ms or _known_ms(last) > self.ms:
            return None
        late_ms = max(0, later[0] - ready_ms) if later else None
        return Fate("wrap_up", phone.who, bool(later), late_ms)


def _known_ms(call: CallerCall | AgentCall) -> int:
    """When this side knew for certain that the call is over."""
    end = call.end
    return min(end.bye_answered_ms, end.bye_received_ms)


def _ending_ms(call: CallerCall, agent: AgentCall | None) -> int | None:
    sides: list[CallerCall | AgentCall] = [call, *([agent] if agent else [])]
    sent_ms = min(side.end.bye_sent_ms for side in sides)
    known_ms = max(_known_ms(side) for side in sides)
    return None if NEVER in (sent_ms, known_ms) else known_ms - sent_ms


def _worst(gaps: Sequence[tuple[int, int, int]]) -> int | None:
    return max((after for _, after, _ in gaps), default=None)
