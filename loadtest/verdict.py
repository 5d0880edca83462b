"""The verdict on a run, computed from what the phones logged and from nothing else.

A call is *lost* when it did not end as its people wanted, *doubled* where one phone or one caller
had two (both in `lost`), and the queue's order was kept when nobody was *overtaken* (`order`).
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from loadtest.facts import AnyFact, Mark
from loadtest.hearing import LATE_MS
from loadtest.lost import Double, Loss, doubled, lost
from loadtest.order import Overtaken, overtaken
from loadtest.view import (
    NEVER,
    AgentCall,
    AgentPhone,
    CallerCall,
    Talk,
    View,
    callers_heard,
    gather,
    talks,
)

FAULT_MS = 5_000
"""Gaps are looked at for so long after a mark (see facts.Window)."""

OWN_LATE_MS = 100
"""Phones that sent so late have themselves to blame for gaps, and are worth a line."""

SAME_MS = 1_000
"""Marks of one name that lie so near are one."""

_AT_REST = ("ready", "not_ready", "wrap_up", "paused", "signed_out")
LISTED = {
    "idle": _AT_REST,
    "ringing": ("offered",),
    "talking": ("talking",),
    "absent": (*_AT_REST, "offered"),
}
"""States a cluster may list for an agent whose phone is idle, rings or is in a call."""


class PhoneState(msgspec.Struct, frozen=True):
    """An agent's phone now: "idle", "ringing", "talking" or "absent", in which call, to whom.

    `caller` and `caller_call` (the Call-ID on the caller's leg) are by audio; "" when unheard.
    """

    agent: str
    state: str
    call: str = ""
    caller: str = ""
    caller_call: str = ""


class Gaps(msgspec.Struct, frozen=True):
    """The largest gaps, in ms, that people heard in the 10 s before and the 5 s after a mark."""

    mark: str
    at_ms: int
    talkers: int
    """Phones in a talk at the mark; measured up to its end, where that is within the 5 s."""
    talkers_before_ms: int
    talkers_after_ms: int
    listeners: int
    """Callers who waited at the mark and were not connected within the 5 s."""
    listeners_before_ms: int
    listeners_after_ms: int
    own_late_ms: int
    """How late the simulated phones themselves sent, at most, in the 5 s after."""


class Verdict(msgspec.Struct, frozen=True):
    """What the phones say of the run. `ok`: nothing lost, nothing doubled, order kept."""

    ok: bool
    offered: int
    """Calls that callers made."""
    accepted: int
    """Of these, answered with 200 by whoever took the call."""
    answered: int
    """Of these, connected to an agent: by audio; without it what agents picked up; without agents
    what was accepted."""
    abandoned: int
    """Given up by the caller before he heard an agent."""
    open: int
    """Still going on; lost if the run has ended."""
    lost: list[Loss]
    """All findings; one call may be lost in several ways, and seen so by both its phones."""
    lost_calls: int
    """Callers' calls that were lost, each counted once."""
    doubled: list[Double]
    order_kept: bool | None
    """None: without audio it cannot be told."""
    overtaken: list[Overtaken]
    offers: int
    """INVITEs that agents' free phones got."""
    offers_failed: int
    missing: int
    """RTP sequence numbers that never came, all phones."""
    duplicates: int
    gap_ms: int
    """Largest gap any phone heard at any time."""
    gaps: list[Gaps]
    phones: list[PhoneState]
    odd: list[str]
    """Unexpected messages, as "who: what"."""
    own_late_ms: int

    def lines(self) -> list[str]:
        """The verdict for a reader: a line of figures, then a line for each finding."""
        kept = {True: "kept", False: "BROKEN", None: "not measured"}[self.order_kept]
        return [
            f"{self.offered} offered, {self.answered} answered, {self.abandoned} abandoned, "
            f"{self.open} open, {self.lost_calls} lost, {len(self.doubled)} doubled",
            f"queue order {kept}, {self.missing} RTP packets missing",
            *(
                f"largest gap {g.talkers} talkers heard: {g.talkers_before_ms} ms in the 10 s "
                f"before the {g.mark}, {g.talkers_after_ms} ms after"
                for g in self.gaps
            ),
            *(
                [f"the phones themselves were up to {self.own_late_ms} ms late: so may gaps be"]
                if self.own_late_ms > OWN_LATE_MS
                else []
            ),
            *(f"lost: {x.who} {x.reason} {x.detail} ({x.call})" for x in self.lost),
            *(f"doubled: {x.who} {x.reason} {x.detail} ({x.call})" for x in self.doubled),
            *(f"overtaken: {x.who} by {x.by} for {x.ms} ms ({x.call})" for x in self.overtaken),
        ]


def judge(log: Sequence[AnyFact], *, ended: bool = True) -> Verdict:
    """The verdict on a log. `ended`: the people are gone, so a call still open is lost.

    Lines of one phone must be in order; those of different phones may be mixed anyhow.
    """
    view = gather(log)
    talked = talks(view)
    by_voice, _ = view.by_identity()
    callers = list(view.callers.values())
    offers = list(view.offers.values())
    has_audio = any(c.has_audio for c in callers) and any(o.has_audio for o in offers)
    losses = lost(view, talked, ended=ended)
    doubles = doubled(view, talked)
    jumped = overtaken(view, talked)
    connected = {talk.caller.call for talk in talked}
    calls: list[CallerCall | AgentCall] = [*callers, *offers]
    audios = [call.ears.audio for call in calls if call.ears.audio is not None]
    return Verdict(
        ok=not (losses or doubles or jumped),
        offered=len(callers),
        accepted=sum(call.answered_ms != NEVER for call in callers),
        answered=_answered(view, connected),
        abandoned=sum(c.gave_up_ms != NEVER and c.call not in connected for c in callers),
        open=sum(call.end.over_ms == NEVER for call in callers),
        lost=losses,
        lost_calls=len(lost_calls(losses, view, by_voice)),
        doubled=doubles,
        order_kept=not jumped if has_audio else None,
        overtaken=jumped,
        offers=len(offers),
        offers_failed=sum(offer.failed for offer in offers),
        missing=sum(audio.missing for audio in audios),
        duplicates=sum(audio.duplicates for audio in audios),
        gap_ms=max((audio.gap_ms for audio in audios), default=0),
        gaps=[_gaps(mark, callers, talked) for mark in _moments(view.marks)],
        phones=[_phone_state(phone, by_voice) for phone in view.agents.values()],
        odd=[f"{odd.who}: {odd.what}" for odd in view.odd],
        own_late_ms=view.late_ms,
    )


def lost_calls(
    losses: Sequence[Loss], view: View, by_voice: Mapping[str, Sequence[CallerCall]]
) -> set[str]:
    """Call-IDs of callers' legs that were lost; an agent's own where he heard nobody."""
    found = set()
    for loss in losses:
        offer = view.offers.get((loss.who, loss.call))
        heard = callers_heard(offer, by_voice) if offer is not None else []
        found.update([call.call for _, call in heard] or [loss.call])
    return found


def _answered(view: View, connected: Collection[str]) -> int:
    """Calls connected to an agent: by audio, else what agents picked up, else what got a 200."""
    callers, offers = view.callers.values(), view.offers.values()
    if any(c.has_audio for c in callers) and any(o.has_audio for o in offers):
        return len(connected)
    return sum(call.answered_ms != NEVER for call in (offers if view.agents else callers))


def _moments(marks: Sequence[Mark]) -> list[Mark]:
    """The marks, one for each moment: simulations that run together mark it one by one."""
    moments: list[Mark] = []
    for mark in sorted(marks, key=lambda each: each.ms):
        if not any(mark.name == m.name and mark.ms - m.ms <= SAME_MS for m in moments):
            moments.append(mark)
    return moments


def _gaps(mark: Mark, callers: Sequence[CallerCall], talked: Sequence[Talk]) -> Gaps:
    heard: dict[tuple[str, str], tuple[int, int, int]] = {}
    for talk in talked:
        pair: list[CallerCall | AgentCall] = [talk.caller]
        if talk.agent is not None:
            pair.append(talk.agent)
        until = min(mark.ms + FAULT_MS, *(call.end.hung_up_ms for call in pair), NEVER)
        if talk.sound.first_ms <= mark.ms < until:
            heard.update({(c.who, c.call): g for c in pair for g in around(c, mark, until)})
    connected = {talk.caller.call for talk in talked if talk.sound.first_ms <= mark.ms + FAULT_MS}
    music = [
        gaps
        for call in callers
        if call.answered_ms <= mark.ms and call.call not in connected
        for gaps in around(call, mark, min(mark.ms + FAULT_MS, call.end.hung_up_ms))
        if call.end.hung_up_ms > mark.ms
    ]
    return Gaps(
        mark=mark.name,
        at_ms=mark.ms,
        talkers=len(heard),
        talkers_before_ms=max((before for before, _, _ in heard.values()), default=0),
        talkers_after_ms=max((after for _, after, _ in heard.values()), default=0),
        listeners=len(music),
        listeners_before_ms=max((before for before, _, _ in music), default=0),
        listeners_after_ms=max((after for _, after, _ in music), default=0),
        own_late_ms=max((late for _, _, late in (*heard.values(), *music)), default=0),
    )


def around(call: CallerCall | AgentCall, mark: Mark, until: int) -> list[tuple[int, int, int]]:
    """The largest gaps (before, after) and how late the phones were; [] when it did not listen.

    Up to `until`, when the first of the two hung up: what is not heard then is nobody's fault.
    """
    audio = call.ears.audio
    windows = audio.windows if audio else []
    for window in windows:
        if window.mark != mark.name or abs(window.at_ms - mark.ms) > SAME_MS or audio is None:
            continue
        after_ms = window.after_ms
        if until < window.at_ms + FAULT_MS:
            late = [gap for at, gap in audio.late if window.at_ms < at <= until]
            silent_ms = until - (audio.ms - audio.silent_ms)
            after_ms = max(min(after_ms, LATE_MS), silent_ms, *late, 0)
        return [(window.before_ms, after_ms, window.own_late_ms)]
    return []


def _phone_state(phone: AgentPhone, by_voice: Mapping[str, Sequence[CallerCall]]) -> PhoneState:
    if phone.absent:
        return PhoneState(phone.who, "absent")
    offer = phone.calls[-1] if phone.calls else None
    if offer is None or offer.end.hung_up_ms != NEVER:
        return PhoneState(phone.who, "idle")
    if offer.answered_ms == NEVER:
        return PhoneState(phone.who, "ringing", offer.call)
    heard = callers_heard(offer, by_voice)
    if not heard:
        return PhoneState(phone.who, "talking", offer.call)
    caller = heard[-1][1]
    return PhoneState(phone.who, "talking", offer.call, caller.who, caller.call)


def differing(phones: Sequence[PhoneState], listed: Sequence[Mapping[str, object]]) -> list[str]:
    """Where a cluster's list of agents, [{"agent", "state", ...}], contradicts their phones.

    A line for each agent; an agent whom the list or the phones lack is one too.
    """
    states = {str(entry.get("agent")): str(entry.get("state")) for entry in listed}
    found = []
    for phone in phones:
        state = states.pop(phone.agent, None)
        if state is None:
            found.append(f"{phone.agent}: not listed")
        elif state not in LISTED[phone.state]:
            found.append(f"{phone.agent}: listed as {state}, his phone is {phone.state}")
    return found + [f"{agent}: listed, has no phone here" for agent in states]
