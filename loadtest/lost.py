"""Which calls were lost, and which were doubled: one rule for each way to lose or double one.

Every rule looks at both ends. Legs are joined by what the people heard of each other.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from loadtest.facts import Sound
from loadtest.view import (
    NEVER,
    AgentCall,
    CallerCall,
    Talk,
    View,
    callers_heard,
    overlap_ms,
)

HEARD_MS = 500
"""Whoever hears a voice for so long must be heard by it."""

DEAF_MS = 1_000
"""Whoever is connected for so long and hears nothing has lost his call."""

SILENT_MS = 2_000
"""Longest silence before the end of a call; a restarted media server may take so long."""

TOGETHER_MS = 100
"""Two sounds that overlap by more were there at the same time."""

RINGS_ON_MS = 2_000
"""A phone may still ring so long while the next one already does: its CANCEL is on the way."""

CROSSING_MS = 5_000
"""A hang-up takes at most so long to reach the other side: two repeats and a takeover."""


class Loss(msgspec.Struct, frozen=True):
    """A call that did not end as its people wanted; `who` and `call` as in the log.

    `reason` is one of no_answer, refused, dropped, bye_unanswered, bye_refused, no_audio, one_way,
    wrong_audio, silent, no_ack, unfinished.
    """

    reason: str
    who: str
    call: str
    detail: str = ""


class Double(msgspec.Struct, frozen=True):
    """Two calls where one may be: second_offer, two_callers or two_agents."""

    reason: str
    who: str
    call: str
    detail: str = ""


def lost(view: View, talked: Sequence[Talk], *, ended: bool) -> list[Loss]:
    """All losses. `ended`: nobody goes on, so what is still open was lost."""
    mine: dict[str, list[Talk]] = {}
    for talk in talked:
        mine.setdefault(talk.caller.call, []).append(talk)
    offers = [offer for phone in view.agents.values() for offer in phone.calls]
    callers = list(view.callers.values())
    found: list[Loss] = []
    for call in callers:
        found += _set_up(call)
        found += _ending(call, ended=ended)
        if call.has_audio:
            found += _caller_dropped(call, mine.get(call.call, []))
            found += _caller_ears(call, mine.get(call.call, []))
    found += _dropped_unheard(callers, offers)
    by_voice, _ = view.by_identity()
    for offer in offers:
        found += _ending(offer, ended=ended)
        if offer.answered_ms == NEVER:
            continue
        ended_here = offer.end.over_ms != NEVER and offer.end.bye_received_ms == NEVER
        if offer.confirmed_ms == NEVER and ended_here:
            found.append(Loss("no_ack", offer.who, offer.call))
        if offer.has_audio:
            heard = callers_heard(offer, by_voice)
            found += _agent_dropped(offer, heard, callers)
            found += _agent_ears(offer, heard)
    return found


def _set_up(call: CallerCall) -> Iterator[Loss]:
    if call.refused == 408:
        yield Loss("no_answer", call.who, call.call)
    elif call.refused and call.cancelled_ms == NEVER:
        yield Loss("refused", call.who, call.call, str(call.refused))


def _ending(call: AgentCall | CallerCall, *, ended: bool) -> Iterator[Loss]:
    """What is wrong with how the call ended on this phone."""
    end = call.end
    if end.bye_sent_ms != NEVER:
        if end.bye_status == 408 or (end.bye_status == 0 and ended):
            yield Loss("bye_unanswered", call.who, call.call)
        elif end.bye_status >= 300 and end.bye_received_ms == NEVER:  # BYEs may cross
            yield Loss("bye_refused", call.who, call.call, str(end.bye_status))
    elif end.over_ms == NEVER and ended:
        yield Loss("unfinished", call.who, call.call)


def _hung_up_first(one: AgentCall | CallerCall, other: AgentCall | CallerCall) -> bool:
    return one.end.bye_sent_ms <= other.end.bye_received_ms


def _was_told(call: AgentCall | CallerCall) -> bool:
    """The BYE that ended this call came from the other side."""
    return call.end.bye_received_ms < call.end.bye_sent_ms


def _caller_dropped(call: CallerCall, mine: Sequence[Talk]) -> Iterator[Loss]:
    if _was_told(call) and not any(t.agent and _hung_up_first(t.agent, call) for t in mine):
        yield Loss("dropped", call.who, call.call, "got a BYE that no agent of his had sent")


def _dropped_unheard(callers: Sequence[CallerCall], offers: Sequence[AgentCall]) -> Iterator[Loss]:
    """Without audio nobody knows who talked to whom; the numbers must agree all the same."""
    told = sum(_was_told(call) for call in callers if not call.has_audio)
    byes = sum(offer.end.bye_sent_ms != NEVER for offer in offers if not offer.has_audio)
    if told > byes and any(not offer.has_audio for offer in offers):
        yield Loss("dropped", "", "", f"{told} callers got a BYE, agents sent {byes}")


def _caller_ears(call: CallerCall, mine: Sequence[Talk]) -> Iterator[Loss]:
    audio = call.ears.audio
    if call.answered_ms == NEVER or audio is None:
        return
    strange = _strange(call.ears.sounds, "c")
    if strange:
        yield Loss("wrong_audio", call.who, call.call, f"heard {strange}")
    listened_ms = min(call.end.hung_up_ms, audio.ms) - call.answered_ms
    if not audio.packets and listened_ms > DEAF_MS:
        yield Loss("no_audio", call.who, call.call, f"in {listened_ms} ms")
    for talk in mine:
        if talk.sound.last_ms - talk.sound.first_ms < HEARD_MS:
            continue
        if talk.agent is None:
            yield Loss("wrong_audio", call.who, call.call, f"{talk.sound.what} is in no call")
        elif talk.agent.ears.audio is not None and not _hears(talk.agent, call.identity):
            detail = f"hears {talk.sound.what}, who does not hear him"
            yield Loss("one_way", call.who, call.call, detail)
    yield from _silent(call, [talk.agent for talk in mine[-1:] if talk.agent])


def _strange(sounds: Sequence[Sound], own_kind: str) -> str:
    """A voice that a person of this kind must not hear: one of his own kind, or two at once."""
    return next((s.what for s in sounds if s.what[:1] == own_kind or s.what == "several"), "")


def _hears(call: AgentCall | CallerCall, voice: str) -> bool:
    return any(sound.what == voice for sound in call.ears.sounds)


def _silent(
    call: AgentCall | CallerCall, others: Sequence[AgentCall | CallerCall]
) -> Iterator[Loss]:
    """Sound that stopped for good, though neither side had hung up."""
    audio = call.ears.audio
    if audio is None or not audio.packets:
        return
    stopped_ms = audio.ms - audio.silent_ms
    until = min([audio.ms, call.end.hung_up_ms, *(other.end.hung_up_ms for other in others)])
    if until - stopped_ms > SILENT_MS:
        yield Loss("silent", call.who, call.call, f"{until - stopped_ms} ms before the end")


def _agent_dropped(
    offer: AgentCall,
    heard: Sequence[tuple[Sound, CallerCall]],
    callers: Sequence[CallerCall],
) -> Iterator[Loss]:
    if not _was_told(offer) or any(_hung_up_first(call, offer) for _, call in heard):
        return
    told_ms = offer.end.bye_received_ms
    if not heard and any(  # answered while the caller gave up: they never heard each other
        offer.offered_ms - CROSSING_MS <= call.gone_ms <= told_ms <= call.gone_ms + CROSSING_MS
        for call in callers
        if not any(sound.what == offer.identity for sound in call.ears.sounds)
    ):
        return
    yield Loss("dropped", offer.who, offer.call, "got a BYE that no caller of his had sent")


def _agent_ears(offer: AgentCall, heard: Sequence[tuple[Sound, CallerCall]]) -> Iterator[Loss]:
    audio = offer.ears.audio
    if audio is None:
        return
    strange = _strange(offer.ears.sounds, "a")
    if strange:
        yield Loss("wrong_audio", offer.who, offer.call, f"heard {strange}")
    listened_ms = min(offer.end.hung_up_ms, audio.ms) - offer.answered_ms
    if listened_ms > DEAF_MS and not heard:
        if audio.packets:
            sounds = ", ".join(dict.fromkeys(sound.what for sound in offer.ears.sounds))
            yield Loss("wrong_audio", offer.who, offer.call, f"heard only {sounds}")
        else:
            yield Loss("no_audio", offer.who, offer.call, f"in {listened_ms} ms")
    for sound, call in heard:
        long_enough = sound.last_ms - sound.first_ms >= HEARD_MS
        if long_enough and call.ears.audio is not None and not _hears(call, offer.identity):
            detail = f"hears {sound.what}, who does not hear him"
            yield Loss("one_way", offer.who, offer.call, detail)
    yield from _silent(offer, [call for _, call in heard[-1:]])


def doubled(view: View, talked: Sequence[Talk]) -> list[Double]:
    """All doubles, by phones and by audio."""
    found = [
        Double("second_offer", double.who, double.call, f"{double.state} in {double.busy}")
        for phone in view.agents.values()
        for double in phone.double
    ]
    by_agent: dict[str, list[tuple[Sound, CallerCall]]] = {}
    for talk in talked:
        by_agent.setdefault(talk.sound.what, []).append((talk.sound, talk.caller))
    for voice, pairs in by_agent.items():
        pairs.sort(key=lambda pair: pair[0].first_ms)
        for (a, one), (b, other) in pairwise(pairs):
            if one.call != other.call and overlap_ms(a, b) > TOGETHER_MS:
                detail = f"{one.who} and {other.who} at once"
                found.append(Double("two_callers", voice, other.call, detail))
    by_caller: dict[str, list[tuple[Sound, AgentCall]]] = {}
    by_name: dict[str, list[AgentCall]] = {}
    for offer in view.offers.values():
        for sound in offer.ears.sounds:
            if sound.what[:1] == "c":
                by_caller.setdefault(sound.what, []).append((sound, offer))
        if offer.shown:
            by_name.setdefault(offer.shown, []).append(offer)
    for voice, heard in by_caller.items():
        heard.sort(key=lambda pair: pair[0].first_ms)
        for (a, mine), (b, yours) in pairwise(heard):
            if mine is not yours and overlap_ms(a, b) > TOGETHER_MS:
                detail = f"{mine.who} and {yours.who} at once"
                found.append(Double("two_agents", voice, yours.call, detail))
    for name, offers in by_name.items():
        offers.sort(key=lambda offer: offer.offered_ms)
        for mine, yours in pairwise(offers):
            until = min(mine.end.hung_up_ms, mine.cancelled_ms, yours.end.hung_up_ms)
            if until != NEVER and until - yours.offered_ms > RINGS_ON_MS:
                detail = f"{mine.who} and {yours.who} at once"
                found.append(Double("two_agents", name, yours.call, detail))
    return found
