"""What the media server says, and which pending field of a call or leg it answers."""

from msgspec.structs import replace

from calls import flow, inputs, legs
from calls.effects import ApplyMedia, DeleteMedia
from calls.records import OFFERING, PROMPT, RINGING, SETUP, UP, Call, Leg
from calls.turn import Turn
from media_servers import verbs
from media_servers.verbs import Applied

STATUS_OF = {"bad_sdp": 400, "not_acceptable": 488}
"""What a phone is told when the media server refuses its SDP; 503 for all other reasons."""


def applied(t: Turn, event: inputs.MediaApplied) -> None:
    """A counter is confirmed: whatever waited for it goes on."""
    if t.call(event.session) is None:
        return
    call = t.edit_call(event.session)
    call.confirmed = max(call.confirmed, event.counter)
    call.tries = 0
    call.media = verbs.settled(
        call.media, Applied(event.session, event.counter, event.sdps, event.ports)
    )
    for leg_id in (call.caller_leg, call.agent_leg):
        leg = t.leg(leg_id) if leg_id else None
        if leg is not None and leg.name in event.sdps:
            _applied_to(t, call, leg, event.counter, event.sdps[leg.name])


def _applied_to(t: Turn, call: Call, leg: Leg, counter: int, sdp: str) -> None:
    incoming = leg.incoming
    if incoming is not None and incoming.needs and counter >= incoming.needs:
        leg = t.edit_leg(leg.id)
        if leg.state == SETUP:
            flow.ready_to_answer(t, call, leg, sdp)
        else:
            legs.answer(t, leg, sdp)
    elif leg.needs and counter >= leg.needs:
        leg = t.edit_leg(leg.id)
        if leg.state == SETUP:
            legs.invite(t, leg, sdp)
        elif call.state == OFFERING:
            flow.joined(t, call, leg)
    elif (
        leg.state == UP
        and sdp != leg.local_sdp
        and incoming is None
        and leg.outgoing is None
        and not leg.retry_ms
    ):
        legs.invite(t, t.edit_leg(leg.id), sdp)


def refused(t: Turn, event: inputs.MediaRefused) -> None:
    """The media server said no: the one who asked for it is told, everything else stays."""
    if t.call(event.session) is None:
        return
    call = t.edit_call(event.session)
    status = STATUS_OF.get(event.reason, 503)
    caller = t.edit_leg(call.caller_leg)
    agent = t.edit_leg(call.agent_leg) if call.agent_leg else None
    if call.state == RINGING and caller.incoming is not None:
        if event.reason != "unreachable" or event.counter >= caller.incoming.needs:
            flow.refused(t, call, caller, status, f"media {event.reason}")
        return
    for leg in (caller, agent):
        if leg is not None and leg.incoming is not None and leg.incoming.needs:
            flow.renegotiation_refused(t, call, leg, 488 if status == 400 else status)
            return
    if agent is not None and agent.needs and call.state == OFFERING:
        legs.hang_up(t, agent)
        blame = event.reason in STATUS_OF
        flow.offer_failed(t, call, f"media {event.reason}", blame=blame)
        flow.leg_over_if_ended(t, agent)
        return
    if event.reason in ("unreachable", "old_epoch"):
        return  # the next MediaSessions, or the new active, asks again
    call.tries += 1
    if call.tries > flow.MEDIA_TRIES:
        flow.end(t, call, cause=f"media {event.reason}", by="system")
    elif call.state == PROMPT and event.reason == "no_file":
        flow.enqueue(t, call)
    elif event.reason == "no_ports":
        flow.reanchor(t, call)


def play_ended(t: Turn, event: inputs.PlayEnded) -> None:
    call = _news(t, event.session, event.n)
    if call is not None and call.state == PROMPT and event.play == call.play:
        flow.enqueue(t, call)


def digit(t: Turn, event: inputs.Digit) -> None:
    call = _news(t, event.session, event.n)
    if call is not None:
        flow.pressed(t, call, event.leg, event.digit)


def _news(t: Turn, session: str, n: int) -> Call | None:
    """The call of an event that has not been seen yet: an unacknowledged one may come again."""
    call = t.call(session)
    if call is None or n <= call.media.seen:
        return None
    call = t.edit_call(session)
    call.media = replace(call.media, seen=n)
    return call


def compare(t: Turn, sessions: list[str]) -> None:
    """The media server came (back) with `sessions`: end those nobody wants, make the others."""
    for name in sessions:
        if name not in t.book.calls:
            t.emit(DeleteMedia(name))
    there = frozenset(sessions)
    for name in t.book.calls:
        call = t.call(name)
        if call is not None and (name not in there or call.media.counter > call.confirmed):
            t.emit(ApplyMedia(call.media))


def redrive(t: Turn, call: Call) -> None:
    """What the media server has not confirmed is asked again by the node that took over."""
    if call.media.counter > call.confirmed:
        t.emit(ApplyMedia(call.media))
