"""What a SIP message means: which leg it belongs to, and what that does to the call.

Every request that is well made (`sip.message.check`) gets its answer here (RFC 3261 §8.2, §12.2.2),
every answer to a request of ours its consequence. A message that belongs to nothing is answered
without a trace in the records.
"""

from msgspec.structs import replace

from calls import flow, inputs, legs
from calls.records import ENDED, ENDING, OFFERING, SETUP, UP, Incoming, Leg
from calls.turn import Turn
from cluster.machine import Redrive, Timer
from sip import dialog
from sip.dialog import Origin
from sip.message import Message, SipError
from sip.uri import user_of

METHODS_KNOWN = frozenset(
    (
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "INFO",
        "REGISTER",
        "PRACK",
        "UPDATE",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "PUBLISH",
    )
)
"""Known but not allowed here gets 405; unknown gets 501 (RFC 3261 §21.4.6, §21.5.2)."""
CALL_ID_MAX = 256
"""Longer Call-IDs are refused: they are kept in every copy of the shard."""
UNREACHABLE = frozenset((404, 408, 410, 502, 503, 504))
FOR_NOW = frozenset((491, 500, 503))
"""A re-INVITE refused with these goes again: there is glare, or the phone still awaits an ACK."""
REINVITE_TRIES = 8
"""After so many in a row the call is ended: the phone cannot be told where our audio is."""


def requested(t: Turn, event: inputs.Requested) -> None:
    """A new request, or one whose transaction died with another node."""
    msg = event.message
    method = msg.method
    if method == "ACK":
        _acknowledged(t, msg)
        return
    origin = dialog.origin(msg, event.source)
    if method == "CANCEL":
        _cancelled(t, msg, origin)
        return
    if msg.to_tag:
        leg = legs.of_dialog(t, msg, local_tag=msg.to_tag)
        if leg is None or leg.dialog.remote_tag != msg.from_tag:
            legs.reply(t, origin, 481)
        else:
            _in_dialog(t, msg, origin, t.edit_leg(leg.id))
        return
    if method == "INVITE":
        _invited(t, msg, origin)
    elif method == "OPTIONS":
        legs.reply(t, origin, 200, to_tag=legs.tag_of_ours(t))
    elif method == "BYE":
        legs.reply(t, origin, 481)
    else:
        legs.reply(t, origin, 405 if method in METHODS_KNOWN else 501)


# INVITE.


def _invited(t: Turn, msg: Message, origin: Origin) -> None:
    known = legs.of_first_invite(t.legs_of(msg.call_id), msg)
    if known is not None:
        if known.invite_branch == msg.branch:
            legs.repeat(t, known, msg.branch)
        else:
            legs.reply(t, origin, 482)
        return
    wrong = _loop_or_limit(t, msg)
    if wrong is not None:
        t.fact("received")
        t.fact("refused", status=wrong[0], cause=wrong[1])
        legs.reply(t, origin, wrong[0], reason=wrong[1], to_tag=legs.tag_of_ours(t))
        return
    number = user_of(msg.uri)
    declared = t.book.declared
    if number not in declared.numbers or declared.shard_of_number(number) != t.shard:
        _refuse(t, msg, origin, 404, "number unknown")
    elif len(t.book.calls) >= t.centre.max_calls:
        # No tombstone: a busy node keeps nothing of what it turns away.
        turned_away(t, number, "full")
        legs.reply(t, origin, 503, headers=(legs.RETRY_AFTER,), to_tag=legs.tag_of_ours(t))
    else:
        try:
            flow.arrive(t, msg, origin, number)
        except SipError as error:
            _refuse(t, msg, origin, error.status, str(error))


def turned_away(t: Turn, number: str, cause: str) -> None:
    """A new call that was answered 503 is counted, and nothing else is kept of it."""
    t.fact("received", number=number)
    t.fact("refused", status=503, cause=cause)


def _refuse(t: Turn, msg: Message, origin: Origin, status: int, cause: str) -> None:
    t.fact("received", number=user_of(msg.uri))
    t.fact("refused", status=status, cause=cause)
    legs.refuse(t, origin, status, from_tag=msg.from_tag)


def _loop_or_limit(t: Turn, msg: Message) -> tuple[int, str] | None:
    if len(msg.call_id) > CALL_ID_MAX:
        return 400, "Call-ID Too Long"
    if any(f" {t.sent_by};" in via for via in msg.all("via")):
        return 482, "Loop Detected"
    return None


def _cancelled(t: Turn, msg: Message, origin: Origin) -> None:
    """CANCEL: 200 to itself; 487 to an INVITE that has no final answer yet (§9.2)."""
    leg = legs.of_cancel(t, msg)
    if leg is None:
        legs.reply(t, origin, 481)
        return
    legs.reply(t, origin, 200, to_tag=leg.dialog.local_tag)
    if leg.incoming is not None and leg.incoming.status == 0:
        leg = t.edit_leg(leg.id)
        was_first = leg.state == SETUP
        if was_first:
            legs.reject(t, leg, 487)
            flow.leg_gone(t, leg, "cancel")
        else:
            call = t.call(leg.call)
            if call is not None:
                flow.renegotiation_refused(t, t.edit_call(call.id), leg, 487)


def _acknowledged(t: Turn, msg: Message) -> None:
    leg = legs.of_dialog(t, msg, local_tag=msg.to_tag)
    if (
        leg is None
        or leg.incoming is None
        or leg.incoming.status != 200
        or leg.incoming.origin.cseq != msg.cseq
    ):
        return
    leg = t.edit_leg(leg.id)
    assert leg.incoming is not None
    offerless = leg.incoming.offerless
    legs.acknowledged(t, leg)
    call = t.call(leg.call)
    if call is None:
        return
    call = t.edit_call(call.id)
    if offerless:
        if not msg.body:
            # Without an answer to our offer there is no session (§13.3.1.4).
            legs.bye(t, leg)
            flow.leg_gone(t, leg, "no_sdp")
            return
        flow.settled_by_ack(t, call, leg, msg.body)
    if leg.id == call.caller_leg:
        flow.caller_acknowledged(t, call)


# Requests within a dialog.


def _in_dialog(t: Turn, msg: Message, origin: Origin, leg: Leg) -> None:
    method = msg.method
    tag = leg.dialog.local_tag
    if leg.state == ENDED:
        legs.reply(t, origin, 200 if method == "BYE" else 481, to_tag=tag)
        return
    if method == "INVITE" and legs.repeat(t, leg, msg.branch):
        return
    if msg.cseq < leg.dialog.remote_cseq:
        legs.reply(t, origin, 500, to_tag=tag)  # out of order (§12.2.2)
        return
    is_repeat = msg.cseq == leg.dialog.remote_cseq
    leg.dialog.remote_cseq = msg.cseq
    match method:
        case "BYE":
            _hung_up(t, origin, leg)
        case "INVITE":
            _reinvited(t, msg, origin, leg)
        case "OPTIONS":
            legs.reply(t, origin, 200, to_tag=tag)
        case "INFO":
            legs.reply(t, origin, 200, to_tag=tag)
            if not is_repeat:  # to a node that died
                _info(t, msg, leg)
        case _:
            legs.reply(t, origin, 405 if method in METHODS_KNOWN else 501, to_tag=tag)


def _hung_up(t: Turn, origin: Origin, leg: Leg) -> None:
    legs.reply(t, origin, 200, to_tag=leg.dialog.local_tag)
    if leg.incoming is not None and leg.incoming.status == 0:
        legs.reject(t, leg, 487)  # §15.1.2: pending requests are answered 487
    if leg.state != ENDED:
        legs.entomb(t, leg)
    flow.leg_gone(t, leg, "bye")


def _reinvited(t: Turn, msg: Message, origin: Origin, leg: Leg) -> None:
    tag = leg.dialog.local_tag
    call = t.call(leg.call)
    if leg.state == ENDING or call is None:
        legs.reply(t, origin, 481, to_tag=tag)
        return
    if leg.state != UP or leg.incoming is not None:
        # One INVITE at a time from him (§14.2), and none before ours is answered.
        legs.reply(t, origin, 500, to_tag=tag, headers=(legs.RETRY_AFTER,))
        return
    if leg.outgoing is not None or leg.needs:
        legs.reply(t, origin, 491, to_tag=tag)
        return
    call = t.edit_call(call.id)
    dialog.refresh(leg.dialog, msg)
    leg.invite_branch = origin.branch
    leg.incoming = Incoming(origin, offerless=not msg.body)
    legs.progress(t, leg, 100)
    if msg.body:
        flow.renegotiate(t, call, leg, msg.body)
    else:
        flow.offer_anew(t, call, leg)


def _info(t: Turn, msg: Message, leg: Leg) -> None:
    """DTMF as `Signal=5` in application/dtmf-relay, or the bare digit in application/dtmf."""
    kind = msg.get("content-type").partition(";")[0].strip().lower()
    text = ""
    if kind == "application/dtmf-relay":
        for line in msg.body.splitlines():
            name, _, value = line.partition("=")
            if name.strip().lower() == "signal":
                text = value.strip()
    elif kind == "application/dtmf":
        text = msg.body.strip()
    call = t.call(leg.call)
    if len(text) == 1 and text in "0123456789*#ABCD" and call is not None:
        flow.pressed(t, t.edit_call(call.id), leg.name, text)


# Answers.


def responded(t: Turn, msg: Message) -> None:
    """An answer to a request of ours, or a repeat of one."""
    leg = t.leg(legs.leg_of_branch(msg.branch))
    if leg is None or leg.dialog.call_id != msg.call_id:
        return
    method = msg.cseq_method
    if method == "INVITE":
        _invite_answered(t, msg, leg)
    elif method == "BYE" and msg.status >= 200:
        if leg.bye is not None and leg.bye.branch == msg.branch:
            leg = t.edit_leg(leg.id)
            legs.entomb(t, leg)
            flow.leg_over(t, leg)
    elif (
        method == "OPTIONS"
        and msg.status >= 200
        and leg.probe is not None
        and leg.probe.branch == msg.branch
    ):
        _probe_answered(t, t.edit_leg(leg.id), msg.status)


def _probe_answered(t: Turn, leg: Leg, status: int) -> None:
    if status in (408, 481):
        legs.bye(t, leg)
        flow.leg_gone(t, leg, "gone")
    else:
        legs.probed(t, leg)


def _invite_answered(t: Turn, msg: Message, leg: Leg) -> None:
    out = leg.outgoing
    ours = out is not None and out.branch == msg.branch
    if msg.status < 200:
        if ours and out is not None and not out.provisional and leg.state == SETUP:
            leg = t.edit_leg(leg.id)
            assert leg.outgoing is not None
            leg.outgoing.provisional = True
            if leg.outgoing.cancelled:
                legs.emit_cancel(t, leg)
        return
    if msg.status < 300:
        if ours and leg.state == SETUP:
            _accepted(t, msg, t.edit_leg(leg.id))
        elif ours and msg.to_tag == leg.dialog.remote_tag:
            _reaccepted(t, msg, t.edit_leg(leg.id))
        elif msg.to_tag == leg.dialog.remote_tag:
            legs.acknowledge(t, leg, cseq=msg.cseq, seed=msg.branch)
        else:
            _forked(t, msg, leg)
        return
    # Only once the consequence is committed: until its ACK the phone repeats what it refused with,
    # to the next node if need be.
    legs.acknowledge_failure(t, leg, msg)
    if ours:
        _declined(t, msg.status, t.edit_leg(leg.id))


def _accepted(t: Turn, msg: Message, leg: Leg) -> None:
    """The agent's phone answered."""
    assert leg.outgoing is not None
    cancelled = leg.outgoing.cancelled
    try:
        dialog.answered(leg.dialog, msg)
    except SipError:
        leg.dialog.remote_tag = msg.to_tag
        cancelled = True
    leg.state = UP
    leg.outgoing = None
    legs.probed(t, leg)
    legs.acknowledge(t, leg, cseq=msg.cseq, seed=msg.branch)
    call = t.call(leg.call)
    wanted = call is not None and call.agent_leg == leg.id and call.state == OFFERING
    if cancelled or not wanted or call is None:
        legs.bye(t, leg)
        if wanted and call is not None:
            flow.offer_failed(t, t.edit_call(call.id), "unreachable")
    elif not msg.body:
        legs.bye(t, leg)
        flow.offer_failed(t, t.edit_call(call.id), "no_sdp")
    else:
        flow.agent_answered(t, t.edit_call(call.id), leg, msg.body)


def _reaccepted(t: Turn, msg: Message, leg: Leg) -> None:
    """The phone took our re-INVITE."""
    leg.outgoing = None
    leg.retries = 0
    dialog.refresh(leg.dialog, msg)
    legs.acknowledge(t, leg, cseq=msg.cseq, seed=msg.branch)
    call = t.call(leg.call)
    if call is not None and msg.body:
        flow.settled_by_ack(t, t.edit_call(call.id), leg, msg.body)


def _forked(t: Turn, msg: Message, leg: Leg) -> None:
    """A second phone answered the same INVITE: take the answer, and hang up (§13.2.2.4)."""
    for known in t.legs_of(msg.call_id):
        if known.dialog.remote_tag == msg.to_tag:  # it repeats its 200
            legs.acknowledge(t, known, cseq=msg.cseq, seed=msg.branch)
            return
    second = Leg(
        id=t.new_id(),
        call="",
        name="",
        agent="",
        dialog=replace(leg.dialog, routes=[]),
    )
    second.dialog.remote_tag = ""
    second.dialog.local_cseq = msg.cseq
    try:
        dialog.answered(second.dialog, msg)
    except SipError:
        return
    t.add_leg(second)
    legs.acknowledge(t, second, cseq=msg.cseq, seed=msg.branch)
    legs.bye(t, second)


def _declined(t: Turn, status: int, leg: Leg) -> None:
    assert leg.outgoing is not None
    if leg.state == SETUP:
        legs.entomb(t, leg)
        call = t.call(leg.call)
        if call is not None and call.agent_leg == leg.id:
            flow.offer_failed(t, t.edit_call(call.id), _reason(status))
        flow.leg_over(t, leg)
    elif status in FOR_NOW and leg.retries < REINVITE_TRIES:
        # We own the Call-ID of agents' legs: 2.1 to 4 s; of callers' legs not: 0 to 2 s (§14.1).
        draw = int(t.tx.token(2), 16) % 190 * 10
        leg.outgoing = None
        leg.retries += 1
        leg.retry_ms = t.now_ms + (2_100 if leg.agent else 0) + draw + 10
    else:
        legs.bye(t, leg)
        flow.leg_gone(t, leg, "reinvite_refused")


def _reason(status: int) -> str:
    if status in (486, 600):
        return "busy"
    return "unreachable" if status in UNREACHABLE else "declined"


def timed_out(t: Turn, branch: str, method: str) -> None:
    """No final answer at all."""
    leg = t.leg(legs.leg_of_branch(branch))
    if leg is None:
        return
    if method == "BYE" and leg.bye is not None and leg.bye.branch == branch:
        leg = t.edit_leg(leg.id)
        legs.entomb(t, leg)
        flow.leg_over(t, leg)
    elif method == "OPTIONS" and leg.probe is not None and leg.probe.branch == branch:
        leg = t.edit_leg(leg.id)
        legs.bye(t, leg)
        flow.leg_gone(t, leg, "gone")
    elif method == "INVITE" and leg.outgoing is not None and leg.outgoing.branch == branch:
        _declined(t, 408, t.edit_leg(leg.id))


def leg_due(t: Turn, leg: Leg) -> None:
    """A deadline of a living leg."""
    if leg.incoming is not None and 0 < leg.incoming.until_ms <= t.now_ms:
        if leg.incoming.needs:
            flow.media_stayed_away(t, leg)
            return
        legs.bye(t, leg)
        flow.leg_gone(t, leg, "no_ack")
    elif leg.outgoing is not None and 0 < leg.outgoing.until_ms <= t.now_ms:
        legs.entomb(t, leg)
        flow.leg_over(t, leg)
    elif 0 < leg.retry_ms <= t.now_ms:
        if leg.incoming is None and leg.outgoing is None:
            legs.invite(t, leg, leg.local_sdp)
        else:
            leg.retry_ms = t.now_ms + legs.RETRY_MS
    elif 0 < leg.probe_ms <= t.now_ms:
        legs.probe(t, leg)


# When a step raised.


def leg_concerned(t: Turn, event: object) -> Leg | None:
    """The leg that an event was for, found without trusting more of it than its ids."""
    match event:
        case inputs.Requested(message=msg):
            if msg.to_tag:
                return legs.of_dialog(t, msg, local_tag=msg.to_tag)
            return legs.of_first_invite(t.legs_of(msg.call_id), msg)
        case inputs.Responded(message=msg):
            return t.leg(legs.leg_of_branch(msg.branch))
        case inputs.TimedOut(branch=branch):
            return t.leg(legs.leg_of_branch(branch))
        case _:
            return None


def answer_bug(t: Turn, event: inputs.Requested, leg: Leg | None) -> None:
    """500 to the request whose step raised; a new call is refused with it, and counted."""
    msg = event.message
    if msg.method == "ACK":
        return
    if msg.method == "INVITE" and leg is None and not msg.to_tag:
        t.fact("received", number=user_of(msg.uri))
        t.fact("refused", status=500, cause="bug")
    legs.reply(t, dialog.origin(msg, event.source), 500, to_tag=msg.to_tag or legs.tag_of_ours(t))


def spoiled(t: Turn, leg: Leg, event: object) -> None:
    """What an event that raised still does to its leg: it may not come again."""
    match event:
        case inputs.Responded(message=msg) if msg.cseq_method == "INVITE":
            out = leg.outgoing
            if msg.status >= 300:
                legs.acknowledge_failure(t, leg, msg)
            if out is None or out.branch != msg.branch:
                return
            if msg.status >= 300 and leg.state == SETUP:
                legs.entomb(t, leg)
            elif msg.status < 200 and not out.provisional:
                out.provisional = True
                if out.cancelled:
                    legs.emit_cancel(t, leg)
        case inputs.Responded(message=msg) if leg.bye is not None and leg.bye.branch == msg.branch:
            if msg.status >= 200:
                legs.entomb(t, leg)
        case Redrive() if leg.state == SETUP and leg.outgoing is not None:
            # It rings, and we may not know it: until it stops he has no other call.
            legs.cancel(t, leg)
            if not leg.outgoing.provisional:
                legs.emit_request(t, leg, leg.outgoing)
        case inputs.TimedOut() | Timer() | Redrive():
            if leg.state == ENDED:
                t.drop_leg(leg)
            elif t.call(leg.call) is None:
                legs.entomb(t, leg)
        case _:
            pass
