"""The phones' facts, gathered by call: what each caller and each agent lived through.

Callers and agents are matched by what they hear of each other, never by what a cluster says.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtest import facts
from loadtest.facts import AnyFact, Audio, Sound

NEVER = 1 << 62
"""Later than any moment: has not happened."""

PICK_UP_MS = 1_000
"""An agent may be heard so long before his own log says he picked up (none does)."""


@dataclass
class Ending:
    """How a call ended on one phone."""

    bye_sent_ms: int = NEVER
    bye_status: int = 0
    """0: no answer yet; 408: none came."""
    bye_answered_ms: int = NEVER
    bye_received_ms: int = NEVER
    over_ms: int = NEVER

    @property
    def hung_up_ms(self) -> int:
        """When the first BYE of this phone went or came."""
        return min(self.bye_sent_ms, self.bye_received_ms, self.over_ms)


@dataclass
class Ears:
    """What one phone heard in one call."""

    sounds: list[Sound] = field(default_factory=list)
    audio: Audio | None = None
    """None while the call is up."""


@dataclass
class CallerCall:
    """One caller's call, as his phone saw it."""

    who: str
    call: str
    identity: str
    number: str
    priority: int
    invited_ms: int
    has_audio: bool = True
    answered_ms: int = NEVER
    refused: int = 0
    gave_up_ms: int = NEVER
    cancelled_ms: int = NEVER
    end: Ending = field(default_factory=Ending)
    ears: Ears = field(default_factory=Ears)
    holds: list[facts.Held] = field(default_factory=list)

    @property
    def gone_ms(self) -> int:
        """From here on he does not wait any more, whoever ended it."""
        return min(self.gave_up_ms, self.cancelled_ms, self.end.hung_up_ms)


@dataclass
class AgentCall:
    """One offer to an agent, and the call it became, as his phone saw it."""

    who: str
    call: str
    identity: str
    offered_ms: int
    shown: str = ""
    answered_ms: int = NEVER
    confirmed_ms: int = NEVER
    declined: int = 0
    cancelled_ms: int = NEVER
    has_audio: bool = True
    end: Ending = field(default_factory=Ending)
    ears: Ears = field(default_factory=Ears)
    holds: list[facts.Held] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """The offer came to nothing."""
        return self.answered_ms == NEVER and self.end.over_ms != NEVER


@dataclass
class AgentPhone:
    """An agent's phone and all that came to it, in order of arrival."""

    who: str
    identity: str
    has_audio: bool
    absent: bool = False
    calls: list[AgentCall] = field(default_factory=list)
    double: list[facts.DoubleOffer] = field(default_factory=list)


@dataclass
class View:
    """All facts of a run by call."""

    callers: dict[str, CallerCall] = field(default_factory=dict)
    agents: dict[str, AgentPhone] = field(default_factory=dict)
    offers: dict[tuple[str, str], AgentCall] = field(default_factory=dict)
    marks: list[facts.Mark] = field(default_factory=list)
    odd: list[facts.Odd] = field(default_factory=list)
    late_ms: int = 0

    def by_identity(self) -> tuple[dict[str, list[CallerCall]], dict[str, AgentPhone]]:
        """Who can be meant by a voice: callers (voices repeat in a long run) and agents."""
        callers: dict[str, list[CallerCall]] = {}
        for call in self.callers.values():
            callers.setdefault(call.identity, []).append(call)
        return callers, {phone.identity: phone for phone in self.agents.values()}


def gather(log: Sequence[AnyFact]) -> View:
    """The view of a log, in any order of lines of different phones."""
    view = View()
    for fact in log:
        _note(view, fact)
    return view


def _note(view: View, fact: AnyFact) -> None:
    match fact:
        case facts.Joined():
            view.agents[fact.who] = AgentPhone(fact.who, fact.identity, fact.has_audio, fact.absent)
        case facts.Invited():
            view.callers[fact.call] = CallerCall(
                fact.who,
                fact.call,
                fact.identity,
                fact.number,
                fact.priority,
                fact.ms,
                fact.has_audio,
            )
        case facts.Offered():
            phone = view.agents[fact.who]
            offer = AgentCall(
                fact.who,
                fact.call,
                phone.identity,
                fact.ms,
                fact.shown,
                has_audio=phone.has_audio,
            )
            phone.calls.append(offer)
            view.offers[fact.who, fact.call] = offer
        case facts.DoubleOffer():
            view.agents[fact.who].double.append(fact)
        case facts.Mark():
            view.marks.append(fact)
        case facts.Late():
            view.late_ms = max(view.late_ms, fact.late_ms)
        case facts.Odd():
            view.odd.append(fact)
        case _:
            call = view.offers.get((fact.who, fact.call)) or view.callers.get(fact.call)
            if call is not None:
                _note_call(call, fact)


def _note_call(call: CallerCall | AgentCall, fact: AnyFact) -> None:
    end, ears = call.end, call.ears
    match fact:
        case facts.Answered():
            call.answered_ms = fact.ms
        case facts.Cancelled():
            call.cancelled_ms = fact.ms
        case facts.Confirmed() if isinstance(call, AgentCall):
            call.confirmed_ms = fact.ms
        case facts.Declined() if isinstance(call, AgentCall):
            call.declined = fact.status
        case facts.Refused() if isinstance(call, CallerCall):
            call.refused = fact.status
        case facts.GaveUp() if isinstance(call, CallerCall):
            call.gave_up_ms = fact.ms
        case facts.Held():
            call.holds.append(fact)
        case facts.ByeSent():
            end.bye_sent_ms = fact.ms
        case facts.ByeAnswered():
            end.bye_status = fact.status
            end.bye_answered_ms = fact.ms
        case facts.ByeReceived():
            end.bye_received_ms = fact.ms
        case facts.Over():
            end.over_ms = fact.ms
        case facts.Heard():
            ears.sounds.append(Sound(fact.what, fact.ms, NEVER, packets=1))
            if len(ears.sounds) > 1:
                last = ears.sounds[-2]
                ears.sounds[-2] = Sound(last.what, last.first_ms, fact.ms, last.packets)
        case facts.Audio():
            ears.audio = fact
            ears.sounds = list(fact.heard)
        case _:
            pass


@dataclass(frozen=True)
class Talk:
    """A caller who heard an agent, and the agent's call it was (None: that agent had none)."""

    caller: CallerCall
    sound: Sound
    agent: AgentCall | None


def talks(view: View) -> list[Talk]:
    """Every stretch in which a caller heard an agent, in order of the callers' calls."""
    _, agents = view.by_identity()
    starts = {
        phone.who: [call.offered_ms for call in phone.calls] for phone in view.agents.values()
    }
    found = []
    for caller in view.callers.values():
        for sound in caller.ears.sounds:
            phone = agents.get(sound.what)
            if phone is not None:
                place = bisect_right(starts[phone.who], sound.first_ms)
                found.append(Talk(caller, sound, _picked_up(phone.calls[:place], sound.first_ms)))
    return found


def _picked_up(offered: list[AgentCall], first_ms: int) -> AgentCall | None:
    """The latest of these calls that the agent had answered and not left at `first_ms`."""
    for call in reversed(offered[-8:]):
        if call.answered_ms <= first_ms + PICK_UP_MS and call.end.over_ms > first_ms:
            return call
    return None


def callers_heard(
    offer: AgentCall, by_voice: Mapping[str, Sequence[CallerCall]]
) -> list[tuple[Sound, CallerCall]]:
    """Which callers this agent heard in this call. Voices repeat, but not at the same time."""
    return [
        (sound, call)
        for sound in offer.ears.sounds
        for call in by_voice.get(sound.what, [])
        if call.invited_ms <= sound.first_ms and call.end.over_ms > sound.first_ms
    ]


def overlap_ms(a: Sound, b: Sound) -> int:
    """How long two sounds lasted at the same time; negative: so far apart."""
    return min(a.last_ms, b.last_ms) - max(a.first_ms, b.first_ms)
