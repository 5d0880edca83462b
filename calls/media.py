"""What the media server says, and which pending field of a call or leg it answers."""

from msgspec.structs import replace

from calls import flow, inputs, legs
from calls.effects import ApplyMedia, DeleteMedia
from calls.records import OFFERING, PROMPT, SETUP, Call, Leg
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
    if sdp != leg.local_sdp:
        leg = t.edit_leg(leg.id)
        if incoming is not None and not incoming.needs and leg.state == SETUP:
            leg.local_sdp = sdp  # he hears ringing, and has not been told any
        else:
            legs.told(t, leg, sdp)


def refused(t: Turn, event: inputs.MediaRefused) -> None:
    """The media server said no: the one who asked for it is told, everything else stays."""
    found = t.call(event.session)
    if found is None or event.counter < found.media.counter:
        return  # what is wanted by now gets an answer of its own
    call = t.edit_call(event.session)
    if event.reason == "no_ports" and all(leg.port for leg in call.media.legs):
        flow.reanchor(t, call)  # restarted: ports that it had given out belong to others
    elif not _refuses_somebody(t, call, event.reason):
        _refuses_all(t, call, event.reason)


def _refuses_somebody(t: Turn, call: Call, reason: str) -> bool:
    """Whether there is a phone whose request waits for what was refused; it is refused then."""
    status = STATUS_OF.get(reason, 503)
    caller = t.edit_leg(call.caller_leg)
    agent = t.edit_leg(call.agent_leg) if call.agent_leg else None
    for leg in (caller, agent):
        if leg is not None and leg.incoming is not None and leg.incoming.needs:
            if reason == "unreachable":  # the next MediaSessions asks again, if it comes in time
                leg.incoming.until_ms = leg.incoming.until_ms or t.now_ms + flow.MEDIA_WAIT_MS
            elif leg.state == SETUP:
                flow.refused(t, call, leg, status, f"media {reason}")
            else:
                flow.renegotiation_refused(t, call, leg, 488 if status == 400 else status)
            return True
    if agent is None or not agent.needs or call.state != OFFERING:
        return False
    is_his = reason in STATUS_OF
    if is_his and agent.state == SETUP:
        return False  # he has not sent any SDP yet
    if reason == "unreachable":  # the next MediaSessions asks again, if it comes in time
        call.until_ms = call.until_ms or t.now_ms + flow.JOIN_MS
        return True
    legs.hang_up(t, agent)
    flow.offer_failed(t, call, f"media {reason}", blame=is_his)
    flow.leg_over_if_ended(t, agent)
    return True


def _refuses_all(t: Turn, call: Call, reason: str) -> None:
    """Nobody can be told no any more; the call goes on with what can be had, or ends."""
    if reason in ("unreachable", "old_epoch"):
        return  # the next MediaSessions, or the new active, asks again
    call.tries += 1
    if call.tries > flow.MEDIA_TRIES or reason in STATUS_OF:  # of an SDP that came as an answer
        flow.end(t, call, cause=f"media {reason}", by="system")
    elif call.state == PROMPT and reason == "no_file":
        flow.enqueue(t, call)
    elif reason == "no_ports":
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
