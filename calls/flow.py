"""A call's life: ringing, prompt, waiting, offered, talking; each state with its ways out.

The caller is answered one-legged by a media server and keeps that port to the end; agents' legs
come and go beside his. A call that ends is deleted at once and stated in one `ended` fact; its legs
live on alone until their BYEs are answered.
"""

from msgspec.structs import replace

from calls import agents, legs
from calls.acd.engine import Offer
from calls.effects import DeleteMedia
from calls.records import (
    ENDED,
    OFFERING,
    PROMPT,
    RINGING,
    SETUP,
    TALKING,
    UP,
    WAITING,
    AgentState,
    Call,
    Incoming,
    Leg,
)
from calls.turn import Turn
from media_servers import verbs
from media_servers.verbs import Leg as MediaLeg
from media_servers.verbs import Session
from sip import dialog, sdp
from sip.dialog import Origin
from sip.message import Message
from sip.uri import uri_of, user_of

CALLER = "caller"
"""The caller's leg in a media session."""
REOFFER_MS = 5_000
"""A call is not offered again to an agent who did not take it, for so long."""
PROMPT_MS_MAX = 120_000
"""A prompt whose end nobody reports is over by then."""
DIGITS_MAX = 128
"""So many pressed keys are kept of a call."""
JOIN_MS = 5_000
"""An agent who picked up while the media server is away is kept waiting for so long."""
MEDIA_WAIT_MS = 3_000
"""Likewise a phone whose INVITE waits for the media server; then it is told 503."""
MEDIA_TRIES = 3
"""So often a media session is set up anew on other ports before the call is given up."""


def want(t: Turn, call: Call, session: Session) -> None:
    """The media session shall be so; its result comes as `MediaApplied` or `MediaRefused`."""
    call.media = session
    t.wanted[call.id] = session


# Arrival.


def arrive(t: Turn, msg: Message, origin: Origin, number: str) -> None:
    """A new call to a number of ours. Raises SipError when no dialog can be made of it."""
    declared = t.centre.numbers[number]
    tag = legs.tag_of_ours(t)
    leg = Leg(
        id=t.new_id(),
        call=t.new_id(),
        name=CALLER,
        agent="",
        dialog=dialog.incoming(msg, origin.source, tag),
        incoming=Incoming(origin, offerless=not msg.body),
        invite_branch=origin.branch,
    )
    assert leg.incoming is not None
    empty = Session(id=leg.call, shard=t.shard, epoch=0, counter=0, seen=0, legs=())
    session = verbs.answer(empty, CALLER, msg.body) if msg.body else verbs.offer(empty, CALLER)
    leg.incoming.needs = session.counter
    call = Call(
        id=leg.call,
        order=t.order,
        number=number,
        queue=declared.queue,
        priority=declared.priority,
        caller=user_of(uri_of(msg.get("from"))),
        caller_leg=leg.id,
        state=RINGING,
        arrived_ms=t.now_ms,
        arrived_wall_ms=t.tx.wall_ms,
        media=session,
        until_ms=t.now_ms + declared.ring_ms if declared.ring_ms else 0,
    )
    t.add_leg(leg)
    t.tx.put(f"call/{call.id}", call)
    t.book.calls[call.id] = None
    t.fact("received", call.id, number=number, caller=call.caller, call_id=origin.call_id)
    legs.progress(t, leg, 180 if declared.ring_ms else 100)
    want(t, call, session)


def ready_to_answer(t: Turn, call: Call, leg: Leg, sdp: str) -> None:
    """The media server has the caller's port: answer him, unless he shall hear ringing still."""
    assert leg.incoming is not None
    if call.until_ms > t.now_ms:
        leg.local_sdp = sdp
        leg.incoming.needs = leg.incoming.until_ms = 0
    else:
        legs.answer(t, leg, sdp)
        call.state = PROMPT
        call.until_ms = 0


def caller_acknowledged(t: Turn, call: Call) -> None:
    """The caller hears us from now on: the prompt, if the number has one, or the queue."""
    if call.state != PROMPT or call.play:
        return
    number = t.centre.numbers.get(call.number)
    if number is None or not number.prompt:
        enqueue(t, call)
        return
    call.play = 1
    call.until_ms = t.now_ms + PROMPT_MS_MAX
    want(
        t,
        call,
        verbs.play(
            call.media,
            CALLER,
            number.prompt,
            loop=False,
            play=call.play,
            then=t.queue_of(call).music,
        ),
    )


def enqueue(t: Turn, call: Call) -> None:
    """The caller waits from now on, with music, for the first agent who is free."""
    call.until_ms = 0
    call.queued_ms = t.now_ms
    call.queued_wall_ms = t.tx.wall_ms
    t.fact("queued", call.id, queue=call.queue, priority=call.priority)
    music(t, call)
    t.wait(call)
    match_call(t, call)


def music(t: Turn, call: Call) -> None:
    call.play += 1
    name = t.queue_of(call).music
    want(t, call, verbs.play(call.media, CALLER, name, loop=True, play=call.play))


# Offers.


def match_call(t: Turn, call: Call) -> None:
    """Offer a waiting call if an agent is idle who may take it."""
    offered = t.book.acd.for_call(
        call.id, strategy=t.queue_of(call).strategy, tried=call.tried, now_ms=t.now_ms
    )
    if offered is not None:
        offer(t, call, offered)


def match_agent(t: Turn, agent: AgentState) -> None:
    """Offer the best waiting call to an agent who is idle."""
    offered = t.book.acd.for_agent(
        agent.id,
        strategy_of=lambda queue: t.centre.queues[queue].strategy,
        tried_by=t.tried_by,
        now_ms=t.now_ms,
    )
    if offered is not None:
        offer(t, t.edit_call(offered.call), offered)


def settle(t: Turn, agent: AgentState) -> None:
    """After any change of an agent: he is offered a call, or waits for one, or has none."""
    if agents.settle(t, agent):
        match_agent(t, agent)


def offer(t: Turn, call: Call, decided: Offer) -> None:
    """Ring the agent's phone while the caller goes on hearing music."""
    declared = t.centre.agents[decided.agent]
    t.book.acd.leave(call.id)
    leg_id = t.new_id()
    leg = Leg(
        id=leg_id,
        call=call.id,
        name=leg_id,
        agent=decided.agent,
        dialog=dialog.outgoing(
            f"{t.tx.token(12)}@{t.host}",
            legs.tag_of_ours(t),
            f"sip:{call.caller or 'anonymous'}@{t.sent_by}",
            declared.phone,
            declared.phone,
        ),
    )
    t.add_leg(leg)
    call.state = OFFERING
    call.agent = decided.agent
    call.agent_leg = leg.id
    call.until_ms = t.now_ms + t.queue_of(call).offer_timeout_ms
    call.offers += 1
    agents.take(t, t.edit_agent(decided.agent), call=call.id, leg=leg.id)
    t.fact(
        "offered",
        call.id,
        agent=decided.agent,
        call_id=leg.dialog.call_id,
        strategy=decided.strategy,
        candidates=decided.candidates,
        ahead=decided.ahead,
    )
    session = verbs.offer(call.media, leg.name)
    leg.needs = session.counter
    want(t, call, session)


def offer_failed(t: Turn, call: Call, reason: str, *, blame: bool = True) -> None:
    """The agent did not take it: the caller keeps his place, the agent gets no calls for a while.

    `blame`: it was the agent or his phone; else he is ready again, but not for this call at once.
    The agent's leg has been ended, or is being ended, by whoever calls this.
    """
    name, leg_id = call.agent, call.agent_leg
    t.fact("not_taken", call.id, agent=name, reason=reason)
    call.tried = {who: until for who, until in call.tried.items() if until > t.now_ms}
    call.tried[name] = t.now_ms + REOFFER_MS
    call.agent = call.agent_leg = ""
    call.until_ms = 0
    want(t, call, verbs.remove(call.media, leg_id))
    t.wait(call)
    agent = t.agent(name)
    if agent is not None and agent.call == call.id:
        agent = t.edit_agent(name)
        agents.not_taken(
            t, agent, reason, pause_ms=t.queue_of(call).no_answer_pause_ms, blame=blame
        )
        settle(t, agent)
    if call.state == WAITING:
        match_call(t, call)


def offer_timed_out(t: Turn, call: Call) -> None:
    """The agent did not answer, or it was not he who kept them apart."""
    leg = t.edit_leg(call.agent_leg)
    rang = leg.state == SETUP and not leg.needs
    legs.hang_up(t, leg)
    offer_failed(t, call, "no_answer" if rang else "media unreachable", blame=rang)
    leg_over_if_ended(t, leg)


def agent_answered(t: Turn, call: Call, leg: Leg, sdp: str) -> None:
    """His 200 is there: join him with the caller."""
    call.until_ms = 0
    session = verbs.connect(call.media, CALLER, leg.name, remote=sdp)
    caller = t.leg(call.caller_leg)
    if caller is not None and caller.is_held:
        session = heard(t, call, session, caller)
    leg.needs = session.counter
    want(t, call, session)


def joined(t: Turn, call: Call, leg: Leg) -> None:
    """The media server has joined them: they talk."""
    leg.needs = 0
    call.until_ms = 0
    call.state = TALKING
    call.answered_ms = t.now_ms
    call.answered_wall_ms = t.tx.wall_ms
    call.answered_by = leg.agent
    call.tried = {}
    agents.talking(t, t.edit_agent(leg.agent))
    t.fact("answered", call.id, agent=leg.agent, wait_ms=t.now_ms - call.queued_ms)


# Hold and other changes of a talking leg.


def renegotiate(t: Turn, call: Call, leg: Leg, sdp: str) -> None:
    """A re-INVITE with an offer: answered on this side alone; the other hears music or him."""
    assert leg.incoming is not None
    leg.incoming.previous = verbs.leg_of(call.media, leg.name)
    session = _held(t, call, leg, verbs.repoint(call.media, leg.name, sdp), sdp)
    leg.incoming.needs = session.counter
    want(t, call, session)


def _held(t: Turn, call: Call, leg: Leg, session: Session, sdp: str) -> Session:
    """What the others hear once the phone's SDP is this one: it may hold them, or no longer."""
    on_hold = _holds(sdp)
    if on_hold == leg.is_held:
        return session
    leg.is_held = on_hold
    if call.state != TALKING:
        return session
    t.fact("held" if on_hold else "retrieved", call.id, by=leg.agent or CALLER)
    return heard(t, call, session, leg)


def _holds(body: str) -> bool:
    """Whether an SDP puts us on hold; one that cannot be read is left to the media server."""
    try:
        return sdp.on_hold(sdp.parse(body))
    except sdp.BadSdp:
        return False


def heard(t: Turn, call: Call, session: Session, leg: Leg) -> Session:
    """Who hears what while `leg` holds or no longer holds the other."""
    other = t.leg(call.agent_leg if leg.name == CALLER else call.caller_leg)
    if leg.is_held:
        return verbs.hold(session, leg.name, t.queue_of(call).music)
    if other is not None and other.is_held:
        return verbs.hold(session, other.name, t.queue_of(call).music)
    return verbs.resume(session)


def media_stayed_away(t: Turn, leg: Leg) -> None:
    """The phone's INVITE has waited for the media server for long enough."""
    call = t.edit_call(leg.call)
    if leg.state == SETUP:
        refused(t, call, leg, 503, "media unreachable")
    else:
        renegotiation_refused(t, call, leg, 503)


def renegotiation_refused(t: Turn, call: Call, leg: Leg, status: int) -> None:
    """The media server cannot do what a re-INVITE offers: all stays as it was (§14.2)."""
    assert leg.incoming is not None
    before = leg.incoming.previous
    assert before is not None
    legs.reject(t, leg, status)
    # The very leg of before: he was not told another SDP of ours, and need not be told one now.
    restored = tuple(
        replace(before, hears=now.hears, port=now.port) if now.name == leg.name else now
        for now in call.media.legs
    )
    session = replace(call.media, counter=call.media.counter + 1, legs=restored)
    want(t, call, _held(t, call, leg, session, before.remote))


def settled_by_ack(t: Turn, call: Call, leg: Leg, sdp: str) -> None:
    """The SDP answer to our offer came: with the ACK to our 200, or with his."""
    want(t, call, verbs.answered(call.media, leg.name, sdp))


def offer_anew(t: Turn, call: Call, leg: Leg) -> None:
    """A re-INVITE without an offer: ours goes into the 200, his answer comes with the ACK."""
    assert leg.incoming is not None
    leg.incoming.previous = verbs.leg_of(call.media, leg.name)
    session = verbs.offer(call.media, leg.name)
    leg.incoming.needs = session.counter
    want(t, call, session)


def pressed(t: Turn, call: Call, leg: str, digit: str) -> None:
    """Someone pressed a key; more than DIGITS_MAX are not kept."""
    if len(call.digits) < DIGITS_MAX:
        call.digits += digit
        t.fact("digit", call.id, digit=digit, leg=leg)


def reanchor(t: Turn, call: Call) -> None:
    """The recorded ports are not to be had again: other ports, then a re-INVITE to each phone."""

    def moved(media: MediaLeg) -> MediaLeg:
        leg = t.leg(call.caller_leg if media.name == CALLER else call.agent_leg)
        owes_answer = leg is None or (leg.incoming is not None and leg.incoming.status == 0)
        return replace(
            media, port=0, version=media.version + 1, offers=media.offers or not owes_answer
        )

    others = tuple(moved(media) for media in call.media.legs)
    want(t, call, replace(call.media, counter=call.media.counter + 1, legs=others))


# Ends.


def leg_over(t: Turn, leg: Leg) -> None:
    """A leg has ended: the agent whose phone it was may be free."""
    if leg.agent:
        agent = t.agent(leg.agent)
        if agent is not None and agent.leg == leg.id:
            agent = t.edit_agent(leg.agent)
            agent.leg = ""
            settle(t, agent)


def leg_over_if_ended(t: Turn, leg: Leg) -> None:
    """As `leg_over`, for one that may still wait for the answer to its BYE or CANCEL."""
    if leg.state == ENDED:
        leg_over(t, leg)


def leg_gone(t: Turn, leg: Leg, cause: str) -> None:
    """The peer of a leg hung up or vanished; the leg itself has been dealt with."""
    call = t.call(leg.call)
    if call is not None and leg.id == call.caller_leg:
        end(t, t.edit_call(call.id), cause=cause, by=CALLER)
    elif call is not None and leg.id == call.agent_leg:
        call = t.edit_call(call.id)
        if call.state == TALKING:
            end(t, call, cause=cause, by="agent")
        else:
            offer_failed(t, call, cause)
    leg_over_if_ended(t, leg)


def end(t: Turn, call: Call, *, cause: str, by: str) -> None:
    """The call is over, whatever state it was in: one class of the ledger, one CDR.

    `by`: caller, agent or system; `cause`: bye, cancel, no_ack, gone, bug, media, …
    """
    if call.state in (RINGING, PROMPT):
        outcome = "ended_before_queue"
        t.fact(outcome, call.id, cause=cause)
    elif call.state in (WAITING, OFFERING):
        outcome = "abandoned" if by == CALLER else "failed"
        t.fact(outcome, call.id, cause=cause, wait_ms=t.now_ms - call.queued_ms)
    else:
        outcome = "answered"
    close(t, call, outcome=outcome, cause=cause, by=by)


def refused(t: Turn, call: Call, leg: Leg, status: int, cause: str) -> None:
    """The caller's INVITE gets a refusal after all."""
    legs.reject(t, leg, status)
    t.fact("refused", call.id, status=status, cause=cause)
    close(t, call, outcome="refused", cause=cause, by="system")


def close(t: Turn, call: Call, *, outcome: str, cause: str, by: str) -> None:
    """Free what the call holds, and forget it."""
    t.book.acd.leave(call.id)
    t.tx.delete(f"call/{call.id}")
    t.book.calls.pop(call.id, None)
    if call.queue in t.book.closing:
        t.book.closing[call.queue] -= 1
    t.wanted.pop(call.id, None)
    t.emit(DeleteMedia(call.id))
    waited_until = call.answered_ms or t.now_ms
    t.fact(
        "ended",
        call.id,
        number=call.number,
        queue=call.queue if call.queued_ms else "",
        caller=call.caller,
        agent=call.answered_by,
        outcome=outcome,
        cause=cause,
        by=by,
        received_at=call.arrived_wall_ms,
        queued_at=call.queued_wall_ms,
        answered_at=call.answered_wall_ms,
        ended_at=t.tx.wall_ms,
        wait_ms=waited_until - call.queued_ms if call.queued_ms else 0,
        talk_ms=t.now_ms - call.answered_ms if call.answered_ms else 0,
        offers=call.offers,
        digits=call.digits,
    )
    for leg_id in (call.caller_leg, call.agent_leg):
        leg = t.leg(leg_id) if leg_id else None
        if leg is not None and leg.state in (SETUP, UP):
            leg = t.edit_leg(leg_id)
            legs.hang_up(t, leg)
            if leg.state == ENDED and leg.agent == "":
                continue
            if leg.state == ENDED:
                _free(t, leg)
    if call.agent:
        agent = t.agent(call.agent)
        if agent is not None and agent.call == call.id:
            agent = t.edit_agent(call.agent)
            agents.call_over(
                t,
                agent,
                wrap_up_ms=t.queue_of(call).wrap_up_ms if call.answered_ms else 0,
                talked=bool(call.answered_ms),
            )
            settle(t, agent)


def call_of_leg(t: Turn, leg: str) -> str:
    """The call that a leg is part of, found without the leg's record; empty: none."""
    for name in t.book.calls:
        call = t.call(name)
        if call is not None and leg in (call.caller_leg, call.agent_leg):
            return name
    return ""


def hang_up_all(t: Turn, call: str) -> None:
    """A call whose record cannot be read is over: its phones are hung up, its agent is free.

    Which class of the ledger it was in went with the record: it stays unaccounted for.
    """
    t.fact("ended", call, outcome="failed", cause="bug", by="system", ended_at=t.tx.wall_ms)
    for name in [name for names in t.book.legs.values() for name in names]:
        leg = t.leg(name)
        if leg is not None and leg.call == call:
            legs.hang_up(t, t.edit_leg(name))
            leg_over_if_ended(t, leg)
    for agent_id in tuple(t.book.agents):
        agent = t.agent(agent_id)
        if agent is not None and agent.call == call:
            agents.call_over(t, t.edit_agent(agent_id), wrap_up_ms=0, talked=False)
            settle(t, t.edit_agent(agent_id))


def _free(t: Turn, leg: Leg) -> None:
    agent = t.agent(leg.agent)
    if agent is not None and agent.leg == leg.id:
        t.edit_agent(leg.agent).leg = ""
