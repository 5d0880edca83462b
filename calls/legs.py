"""One dialog at a time: what is answered, sent and repeated on a leg.

Nothing here knows queues or agents' states. Each function changes a leg's record and emits the
effects that its pending fields call for; `redrive` emits them again on the node that takes over.
"""

from collections.abc import Iterable, Sequence

from calls.effects import Acked, Request, Respond, Send
from calls.records import ENDED, ENDING, SETUP, UP, Incoming, Leg, Outgoing
from calls.turn import Turn
from sip import dialog
from sip.dialog import Dialog, Origin
from sip.message import Message

TOMBSTONE_MS = 32_000
"""64*T1: as long as the peer may repeat what the dialog's end answered (RFC 3261 §17.1.2.2)."""
ACK_MS = 32_000
"""A 200 without its ACK for so long ends the dialog (RFC 3261 §13.3.1.4)."""
CANCEL_MS = 32_000
"""An INVITE that was cancelled and had no final answer for so long is given up (§9.1)."""
PROBE_MS = 50_000
"""A peer is asked so often by OPTIONS; with Timer F he is missed after 50 + 32 s at the latest."""
RETRY_MS = 500
"""A re-INVITE that may not be sent yet is looked at again so often."""
ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO")
RETRY_AFTER = ("Retry-After", "2")


def tag_of_ours(t: Turn) -> str:
    return t.tx.token(8)


def branch(t: Turn, leg: Leg) -> str:
    """Names the leg too, so that an answer or a timeout finds it on any node."""
    return f"z9hG4bK{leg.id}.{t.tx.token(8)}"


def leg_of_branch(branch: str) -> str:
    """The id in a branch of ours; any text for one that is not."""
    return branch[7:].rpartition(".")[0]


# Answers to the peer.


def reply(
    t: Turn,
    origin: Origin,
    status: int,
    *,
    to_tag: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: str = "",
    reason: str = "",
) -> None:
    """Answer `origin`; a 2xx to INVITE carries our Contact."""
    with_contact = t.contact if origin.method == "INVITE" and status < 300 else ""
    data = dialog.respond(
        origin,
        status,
        reason,
        to_tag=to_tag,
        contact=with_contact,
        headers=(*headers, ALLOW) if status in (200, 405) else headers,
        body=body,
    )
    t.emit(Respond(origin, status, data))


def refuse(
    t: Turn,
    origin: Origin,
    status: int,
    *,
    from_tag: str,
    reason: str = "",
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    """Refuse a first INVITE and keep a tombstone, so that its repeat gets the same answer."""
    leg = Leg(
        id=t.new_id(),
        call="",
        name="",
        agent="",
        dialog=Dialog(
            call_id=origin.call_id,
            local_tag=tag_of_ours(t),
            remote_tag=from_tag,
            local_uri="",
            remote_uri="",
            target="",
            routes=[],
            local_cseq=0,
            remote_cseq=origin.cseq,
            next_hop=origin.source,
        ),
        state=ENDED,
        incoming=Incoming(origin, status=status),
        invite_branch=origin.branch,
        forget_ms=t.now_ms + TOMBSTONE_MS,
    )
    t.add_leg(leg)
    reply(t, origin, status, to_tag=leg.dialog.local_tag, headers=headers, reason=reason)


def progress(t: Turn, leg: Leg, status: int) -> None:
    """100 or 180 to the peer's INVITE. Only after the commit: it stops his repeats."""
    assert leg.incoming is not None
    leg.incoming.progress = status
    answer_again(t, leg, leg.incoming)


def answer(t: Turn, leg: Leg, sdp: str) -> None:
    """200 with `sdp` to the peer's INVITE or re-INVITE."""
    assert leg.incoming is not None
    assert leg.incoming.status == 0
    leg.incoming.status = 200
    leg.incoming.body = sdp
    leg.incoming.needs = 0
    leg.incoming.until_ms = t.now_ms + ACK_MS
    leg.local_sdp = sdp
    leg.retry_ms = leg.retries = 0  # he has just been told
    if leg.state == SETUP:
        leg.state = UP
        leg.probe_ms = t.now_ms + PROBE_MS
    answer_again(t, leg, leg.incoming)


def reject(t: Turn, leg: Leg, status: int) -> None:
    """A final refusal of the peer's INVITE (the leg ends) or re-INVITE (it goes on as before)."""
    incoming = leg.incoming
    assert incoming is not None
    assert incoming.status == 0
    incoming.status = status
    answer_again(t, leg, incoming)
    if leg.state == SETUP:
        entomb(t, leg)
    else:
        _close(t, leg, incoming)


def _close(t: Turn, leg: Leg, incoming: Incoming) -> None:
    """Nothing more comes of this INVITE, but that the peer may not have its answer yet."""
    incoming.until_ms = t.now_ms + ACK_MS
    incoming.previous = None
    leg.closed, leg.incoming = incoming, None


def repeat(t: Turn, leg: Leg, branch: str) -> bool:
    """Whether this is a repeat of an INVITE whose transaction died with another node.

    It gets its answer again; one that was acknowledged gets none (RFC 6026 §7.1).
    """
    for incoming in (leg.incoming, leg.closed):
        if incoming is not None and incoming.origin.branch == branch:
            answer_again(t, leg, incoming)
            return True
    return leg.invite_branch == branch


def answer_again(t: Turn, leg: Leg, incoming: Incoming) -> None:
    """The answer that the record says an INVITE has; on every node the same bytes."""
    status = incoming.status or incoming.progress
    reply(
        t,
        incoming.origin,
        status,
        to_tag=leg.dialog.local_tag if status > 100 else "",
        headers=(RETRY_AFTER,) if status == 503 else (),
        body=incoming.body,
    )


def acknowledged(t: Turn, leg: Leg) -> None:
    """The ACK to our 200 is there."""
    assert leg.incoming is not None
    t.emit(Acked(leg.incoming.origin))
    leg.incoming = None


# Requests of ours.


def to_wire(t: Turn, leg: Leg, request: Outgoing) -> bytes:
    """The very same bytes whenever it is asked, on every node."""
    is_invite = request.method == "INVITE"
    return dialog.request(
        leg.dialog,
        request.method,
        cseq=request.cseq,
        branch=request.branch,
        sent_by=t.sent_by,
        contact=t.contact if is_invite else "",
        headers=(ALLOW,) if is_invite else (),
        body=request.body,
    )


def emit_request(t: Turn, leg: Leg, request: Outgoing) -> None:
    t.emit(Request(request.method, request.branch, to_wire(t, leg, request), leg.dialog.next_hop))


def ask(t: Turn, leg: Leg, method: str, body: str = "") -> Outgoing:
    """A new request in the dialog; the caller stores it in the field it belongs to."""
    if leg.dialog.remote_tag:
        leg.dialog.local_cseq += 1
    request = Outgoing(method, branch(t, leg), leg.dialog.local_cseq, body)
    emit_request(t, leg, request)
    return request


def invite(t: Turn, leg: Leg, sdp: str) -> None:
    """Our INVITE, or re-INVITE, with `sdp` as the offer."""
    assert leg.outgoing is None
    leg.local_sdp = sdp
    leg.needs = 0
    leg.retry_ms = 0
    leg.outgoing = ask(t, leg, "INVITE", sdp)


def told(t: Turn, leg: Leg, sdp: str) -> None:
    """Our SDP is another one now: the phone is told as soon as it may be (§14.1).

    Not while its own INVITE awaits our answer, or ours its: what these bring is looked at then.
    """
    if leg.state != UP or (leg.incoming is not None and leg.incoming.status == 0):
        return
    if leg.incoming is None and leg.outgoing is None and not leg.retry_ms:
        invite(t, leg, sdp)
    else:
        leg.local_sdp = sdp
        leg.retry_ms = leg.retry_ms or t.now_ms + RETRY_MS


def emit_cancel(t: Turn, leg: Leg) -> None:
    assert leg.outgoing is not None
    data = dialog.cancel(to_wire(t, leg, leg.outgoing))
    t.emit(Request("CANCEL", leg.outgoing.branch, data, leg.dialog.next_hop))


def cancel(t: Turn, leg: Leg) -> None:
    """Take our INVITE back. CANCEL waits for a provisional answer (RFC 3261 §9.1)."""
    assert leg.outgoing is not None
    if leg.outgoing.cancelled:
        return
    leg.outgoing.cancelled = True
    leg.outgoing.until_ms = t.now_ms + CANCEL_MS
    if leg.outgoing.provisional:
        emit_cancel(t, leg)


def bye(t: Turn, leg: Leg) -> None:
    """End the dialog from our side."""
    leg.state = ENDING
    _let_go(t, leg)
    leg.outgoing = None
    leg.probe = None
    leg.retry_ms = 0
    leg.bye = ask(t, leg, "BYE")


def acknowledge(t: Turn, leg: Leg, *, cseq: int, seed: str) -> None:
    """ACK to a 2xx. A repeated 2xx gets the same ACK: its branch derives from the INVITE's."""
    data = dialog.request(leg.dialog, "ACK", cseq=cseq, branch=f"{seed}a", sent_by=t.sent_by)
    t.emit(Send(data, leg.dialog.next_hop))


def acknowledge_failure(t: Turn, leg: Leg, response: Message) -> None:
    """ACK to a refusal of our INVITE, on the INVITE's own branch (§17.1.1.3)."""
    sent = Outgoing("INVITE", response.branch, response.cseq)
    t.emit(Send(dialog.ack_failure(to_wire(t, leg, sent), response), leg.dialog.next_hop))


def probe(t: Turn, leg: Leg) -> None:
    """Ask the peer whether he is still in the dialog."""
    leg.probe = ask(t, leg, "OPTIONS")
    leg.probe_ms = 0


def probed(t: Turn, leg: Leg) -> None:
    """He is."""
    leg.probe = None
    leg.probe_ms = t.now_ms + PROBE_MS


def entomb(t: Turn, leg: Leg) -> None:
    """The dialog is over; what the peer may repeat finds its answer for a while."""
    leg.state = ENDED
    _let_go(t, leg)
    leg.outgoing = leg.bye = leg.probe = None
    leg.needs = leg.probe_ms = leg.retry_ms = 0
    leg.local_sdp = ""
    leg.forget_ms = t.now_ms + TOMBSTONE_MS


def _let_go(t: Turn, leg: Leg) -> None:
    """The dialog ends with an INVITE of the peer open: refuse it, or stop repeating its 200."""
    incoming = leg.incoming
    if incoming is None:
        return
    if incoming.status == 0:
        reject(t, leg, 487)
    elif incoming.status < 300:
        t.emit(Acked(incoming.origin))
        _close(t, leg, incoming)


def hang_up(t: Turn, leg: Leg) -> None:
    """End a leg in whatever state it is, in the way that state asks for."""
    if leg.state == SETUP:
        if leg.agent == "":
            reject(t, leg, 487)
        elif leg.outgoing is not None:
            cancel(t, leg)
        else:
            entomb(t, leg)
    elif leg.state == UP:
        bye(t, leg)


def redrive(t: Turn, leg: Leg) -> None:
    """What the record says is still to be done, on the node that took over."""
    # A provisional answer has stopped his repeats, so nobody but us sees to it that he gets the
    # final one. An INVITE that was refused at once (a leg of no call) he repeats.
    if leg.incoming is not None and leg.call:
        answer_again(t, leg, leg.incoming)
    if leg.closed is not None and t.now_ms < leg.closed.until_ms:
        answer_again(t, leg, leg.closed)
        if leg.closed.status == 200:
            t.emit(Acked(leg.closed.origin))  # once is enough: the dialog is over
    if leg.bye is not None:
        emit_request(t, leg, leg.bye)
        return
    if leg.outgoing is not None:
        if leg.outgoing.cancelled and leg.outgoing.provisional:
            emit_cancel(t, leg)
        else:  # cancelled or not: CANCEL needs a provisional answer first, and it may be lost
            emit_request(t, leg, leg.outgoing)
    if leg.probe is not None:
        emit_request(t, leg, leg.probe)


# Finding the leg that a message means.


def of_dialog(t: Turn, msg: Message, *, local_tag: str) -> Leg | None:
    """The leg of an in-dialog request (§12.2.2) or of a response."""
    for leg in t.legs_of(msg.call_id):
        if leg.dialog.local_tag == local_tag:
            return leg
    return None


def of_first_invite(known: Iterable[Leg], msg: Message) -> Leg | None:
    """The one of the legs with this Call-ID that this very INVITE began, or an older one of the
    same dialog-to-be.

    Without a To tag, a repeat (same branch) and a merged or looped request (another branch, no
    higher CSeq, §8.2.2.2) both find their leg; a new attempt with a higher CSeq finds none.
    """
    for leg in known:
        if (
            leg.invite_branch
            and leg.dialog.remote_tag == msg.from_tag
            and (leg.invite_branch == msg.branch or msg.cseq <= leg.dialog.remote_cseq)
        ):
            return leg
    return None


def of_cancel(t: Turn, msg: Message) -> Leg | None:
    """The leg whose INVITE a CANCEL names: the same branch (§9.1)."""
    for leg in t.legs_of(msg.call_id):
        if leg.incoming is not None and leg.invite_branch == msg.branch:
            return leg
    return None


def deadline(leg: Leg) -> int | None:
    """When this leg wants to be looked at next."""
    if leg.state == ENDED:
        return leg.forget_ms
    due = [
        moment
        for moment in (
            leg.incoming.until_ms if leg.incoming else 0,
            leg.outgoing.until_ms if leg.outgoing else 0,
            leg.probe_ms,
            leg.retry_ms,
        )
        if moment
    ]
    return min(due, default=None)
