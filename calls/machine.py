"""The machine of a shard of calls: which event means what to which leg, call or agent.

`cluster.runtime` runs it. It dispatches: legs answer for one dialog, `flow` for the call, `agents`
for an agent's state, `acd` for who gets which call.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from calls import agents, configure, flow, inputs, legs, media, signalling, trunks, view
from calls.acd.engine import Acd
from calls.centre import Address, Centre
from calls.effects import ApplyMedia, FindLost, Publish
from calls.records import (
    ENDED,
    OFFERING,
    PROMPT,
    RINGING,
    TYPES,
    WAITING,
    AgentState,
    Call,
    Ledger,
    Leg,
    Lost,
    Outbox,
    Settings,
)
from calls.turn import Book, Turn
from cluster.machine import ClusterLost, Promoted, Step, Timer, UnknownRecord
from gateway_mgmt.trunks import TrunkState
from sip.message import Message

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(type_) for kind, type_ in TYPES.items()
}


CLUSTER_LOST = "cluster_lost"
"""Cause of calls whose every copy died."""
OPEN_SLICE = 2_000
"""Records that a takeover takes in at a time: some ms."""


class Calls:
    """One shard of calls."""

    def __init__(self, shard: str, sip: Address, centre: Centre) -> None:
        self._shard = shard
        self._sip = sip
        self._book = Book(Settings(centre), shard)

    # Records.

    def encode(self, key: str, record: Any) -> bytes:
        return _ENCODER.encode(record)

    def decode(self, key: str, data: bytes) -> Any:
        decoder = _DECODERS.get(key.partition("/")[0])
        if decoder is None:
            raise UnknownRecord(key)
        return decoder.decode(data)

    def deadline(self, key: str, record: Any) -> int | None:
        match record:
            case Leg():
                return legs.deadline(record)
            case Call():
                if record.state == WAITING:
                    return min(record.tried.values(), default=None)
                return record.until_ms or None
            case AgentState():
                return record.until_ms or None
            case _:
                return None

    def open(self, records: Mapping[str, Any]) -> None:
        for _ in self.opening(records):
            pass

    def opening(self, records: Mapping[str, Any]) -> Iterator[None]:
        """Queues, idle agents and dialogs as the records have them."""
        settings: Settings | None = records.get("settings")
        book = Book(settings or Settings(self._book.declared), self._shard)
        for n, (key, record) in enumerate(records.items(), 1):
            if n % OPEN_SLICE == 0:
                yield
            match record:
                case Leg():
                    book.add_leg(record.dialog.call_id, record.id)
                case Call():
                    book.calls[record.id] = None
                    if record.state == WAITING:
                        _wait(book.acd, record)
                case AgentState():
                    book.agents[record.id] = None
                    agent = book.centre.agents.get(record.id)
                    if agent and record.state == "ready" and not record.leg and not record.call:
                        book.acd.idle(record.id, queues=agent.queues, idle_ms=record.idle_ms)
                case _:
                    assert key
        if settings is not None:
            book.closing = book.calls_in(settings.closing, lambda name: records[f"call/{name}"])
            book.unsettled = [name for name in book.centre.agents if name not in book.agents]
            book.unsettled += [name for name in book.agents if name not in book.centre.agents]
        self._book = book

    # Steps.

    def _turn(self, tx: Step) -> Turn:
        return Turn(tx, self._book, self._shard, self._sip)

    def step(self, tx: Step, event: Any) -> None:
        t = self._turn(tx)
        if tx.get("ledger") is None:
            tx.put("ledger", Ledger())
        self._dispatch(t, event)
        _finish(t)

    def _dispatch(self, t: Turn, event: Any) -> None:
        match event:
            case inputs.Requested():
                signalling.requested(t, event)
            case inputs.TurnedAway():
                signalling.turned_away(t, event.number, event.cause)
            case inputs.Responded():
                signalling.responded(t, event.message)
            case inputs.TimedOut():
                signalling.timed_out(t, event.branch, event.method)
            case Timer():
                self._timer(t, event)
            case inputs.MediaApplied():
                media.applied(t, event)
            case inputs.MediaRefused():
                media.refused(t, event)
            case inputs.PlayEnded():
                media.play_ended(t, event)
            case inputs.Digit():
                media.digit(t, event)
            case inputs.MediaSessions():
                media.compare(t, event.sessions)
            case inputs.Drained():
                for key in event.keys:
                    t.tx.delete(key)
            case inputs.SetAgent():
                self._set_agent(t, event)
            case inputs.Configure():
                configure.configure(t, event)
            case TrunkState():
                trunks.told(t, event)
            case inputs.Settle():
                configure.settle_some(t)
            case inputs.SipDead():
                t.fact("sip_dead", node=event.node)
            case inputs.Switched():
                t.fact("failover", "", **event.fields)
            case inputs.CloseLost():
                self._close_lost(t, event)
            case ClusterLost():
                t.fact("cluster_lost", epoch=event.epoch)
                t.tx.put("lost", Lost(event.epoch))
                t.emit(FindLost(event.epoch))
            case Promoted():
                t.fact("promoted", epoch=event.epoch, records_at=event.records_wall_ms)
                t.tx.put("lost", Lost(event.epoch, partly=True))
                _recount(t)
                t.emit(FindLost(event.epoch))
            case _:
                raise TypeError(f"no step for {type(event).__name__}")

    def _timer(self, t: Turn, event: Timer) -> None:
        kind, _, name = event.key.partition("/")
        if kind == "leg":
            leg = t.edit_leg(name)
            if leg.state == ENDED:
                t.drop_leg(leg)
            else:
                signalling.leg_due(t, leg)
        elif kind == "agent":
            agent = t.edit_agent(name)
            agent.until_ms = 0 if agent.until_ms <= t.now_ms else agent.until_ms
            flow.settle(t, agent)
        elif kind == "call":
            self._call_due(t, t.edit_call(name))

    def _call_due(self, t: Turn, call: Call) -> None:
        match call.state:
            case _ if call.state == RINGING:
                call.until_ms = 0
                leg = t.edit_leg(call.caller_leg)
                if leg.incoming is not None and not leg.incoming.needs and leg.local_sdp:
                    flow.ready_to_answer(t, call, leg, leg.local_sdp)
            case _ if call.state == PROMPT:
                flow.enqueue(t, call)
            case _ if call.state == WAITING:
                call.tried = {who: until for who, until in call.tried.items() if until > t.now_ms}
                flow.match_call(t, call)
            case _ if call.state == OFFERING:
                flow.offer_timed_out(t, call)
            case _:
                call.until_ms = 0

    def _close_lost(self, t: Turn, event: inputs.CloseLost) -> None:
        """Go on with the ledger of the database; what was open has failed, and says so."""
        lost: Lost | None = t.tx.get("lost")
        if lost is None or lost.epoch != event.epoch:
            return  # another node has been told, or all was lost once more
        t.tx.delete("lost")
        ledger: Ledger = t.tx.edit("ledger")
        calls = event.calls
        if lost.partly:
            calls = _unknown(t, calls)
            ledger.received += len(calls)
            ledger.queued += sum(call.was_queued for call in calls)
            ledger.answered += sum(call.was_answered for call in calls)
        else:
            for name in Ledger.__struct_fields__:
                setattr(ledger, name, getattr(ledger, name) + event.ledger.get(name, 0))
        for call in calls:
            if not call.was_queued:
                t.fact("ended_before_queue", call.call, cause=CLUSTER_LOST)
            elif not call.was_answered:
                t.fact("failed", call.call, cause=CLUSTER_LOST)
            t.fact(
                "ended",
                call.call,
                number=call.number,
                caller=call.caller,
                received_at=call.received_wall_ms,
                outcome="failed",
                cause=CLUSTER_LOST,
                by="system",
                ended_at=t.tx.wall_ms,
            )

    def _set_agent(self, t: Turn, event: inputs.SetAgent) -> None:
        if t.agent(event.agent) is None:
            return  # the shard does not know yet, or no longer, whom its node knows
        agent = t.edit_agent(event.agent)
        agents.ask(t, agent, event.state, event.reason)
        flow.settle(t, agent)

    def redrive(self, tx: Step, key: str) -> None:
        t = self._turn(tx)
        match tx.get(key):
            case Leg() as leg:
                legs.redrive(t, leg)
            case Call() as call:
                media.redrive(t, call)
            case Outbox() as outbox:
                t.emit(Publish(key, outbox.events))
            case Lost() as lost:
                t.emit(FindLost(lost.epoch))
            case AgentState():
                flow.settle(t, tx.edit(key))
                _finish(t)
            case _:
                pass

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        """End the one call whose event raised, in the plainest way there is."""
        t = self._turn(tx)
        kind, _, name = getattr(event, "key", "").partition("/")
        leg = t.leg(name) if kind == "leg" else signalling.leg_concerned(t, event)
        call = leg.call if leg else name if kind == "call" else getattr(event, "session", "")
        if kind == "leg" and leg is None:
            call = flow.call_of_leg(t, name)
        t.fact("bug", call, error=type(error).__name__, event=type(event).__name__)
        if isinstance(event, inputs.Requested):
            signalling.answer_bug(t, event, leg)
        if leg is not None:
            signalling.spoiled(t, t.edit_leg(leg.id), event)
        if call and t.call(call) is not None:
            flow.end(t, t.edit_call(call), cause="bug", by="system")
        elif kind == "call":
            flow.hang_up_all(t, call)
        if leg is not None:
            flow.leg_over_if_ended(t, leg)
        if kind == "agent" and name in t.centre.agents:
            agents.give_up(
                t, agents.declare(t, name) if t.agent(name) is None else t.edit_agent(name)
            )
        _finish(t)

    # What is asked.

    def knows(self, records: Mapping[str, Any], msg: Message) -> bool:
        """Has this INVITE without a To tag been here, or the one that this request is about?

        Then the records have its answer.
        """
        names = self._book.legs.get(msg.call_id, ())
        known = (records[f"leg/{name}"] for name in names)
        if msg.method == "CANCEL":
            return any(leg.invite_branch == msg.branch for leg in known)
        if msg.to_tag:
            return any(leg.dialog.local_tag == msg.to_tag for leg in known)
        return legs.of_first_invite(known, msg) is not None

    @property
    def book(self) -> Book:
        """The indexes, for `calls.view`."""
        return self._book


def _finish(t: Turn) -> None:
    """What a step leaves to its end: queues to close, the media it wants, and its facts."""
    if t.book.closing:
        configure.close_queues(t)
    for session in t.wanted.values():
        t.emit(ApplyMedia(session))
    facts = t.close()
    if facts is not None:
        t.emit(Publish(*facts))


def _wait(acd: Acd, call: Call) -> None:
    acd.wait(
        call.id,
        queue=call.queue,
        priority=call.priority,
        arrived_ms=call.arrived_ms,
        order=call.order,
    )


def _recount(t: Turn) -> None:
    """What arrived is what is there or has ended: a copy that was still being received may have
    counted calls that are not in it."""
    live = view.counts({key: t.tx.get(key) for key in t.tx.keys("call/")})
    ledger: Ledger = t.tx.edit("ledger")
    ledger.queued = live["waiting"] + ledger.left_queue
    ledger.received = (
        ledger.refused + ledger.ended_before_queue + live["before_queue"] + ledger.queued
    )


def _unknown(t: Turn, calls: Sequence[inputs.LostCall]) -> list[inputs.LostCall]:
    """Those of the calls that are open in the database of which the records know nothing."""
    boxes = [t.tx.get(key) for key in t.tx.keys("outbox/")]
    told = {event.call for box in boxes for event in box.events}
    return [call for call in calls if t.call(call.call) is None and call.call not in told]
