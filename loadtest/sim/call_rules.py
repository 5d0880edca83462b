"""What must be true of every call, agent and queue, after each step and at the end of a run.

- The ledger adds up; an agent has at most one offer or call; a call is offered to one agent.
- A call keeps its place (priority, arrival) and its wait clock over every takeover, and nobody who
  waits is passed over by one who came later.
- At the end every call has ended well, as the phones saw it, with one CDR.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from calls.effects import Publish
from calls.machine import Calls
from calls.records import ENDED, WAITING, AgentState, Call, Event, Leg
from cluster.machine import Redrive, Step
from loadtest import facts
from loadtest.caller import Caller
from loadtest.facts import AnyFact
from loadtest.sim import audit
from loadtest.verdict import judge

if TYPE_CHECKING:
    from loadtest.sim.calling import Calling, Person
    from loadtest.sim.member import Member

_CALL = msgspec.msgpack.Decoder(Call)

SILENT_MS = 3_000
INDEX_EVERY = 16
"""What is derived from the records is compared with them after one step of so many."""


class Watched(Calls):
    """The product's machine, and somebody who looks at each of its steps."""

    rules: "CallRules"
    member: "Member"

    def step(self, tx: Step, event: Any) -> None:
        super().step(tx, event)
        self.rules.stepped(self, tx, event)

    def redrive(self, tx: Step, key: str) -> None:
        super().redrive(tx, key)
        self.rules.stepped(self, tx, Redrive(key))


class CallRules:
    """The rules over one world."""

    def __init__(self, world: "Calling") -> None:
        self._world = world
        self._places: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._queued: dict[tuple[str, str], int] = {}
        self._steps = 0
        self.is_eventful = False
        """Was a call answered, or was there a reason why none could be?"""
        self._promoted: dict[str, None] = {}
        """Shards that have gone on with records of a moment before."""
        self.excused: dict[str, None] = {}
        """Call-IDs of calls that died with every copy of their shard."""
        self._over: dict[str, None] = {}
        """Call-IDs of calls that are over, as their phones saw it."""
        self._again: dict[str, int] = {}
        """Of those the ones that a promotion brought back, out of old records, and when."""
        self.crossed: dict[str, None] = {}
        """Call-IDs of calls that were under way when another node came to lead their shard."""

    def _accuse(self, shard: str, found: Iterable[str]) -> None:
        for what in found:
            self._world.rules.accuse(f"{shard}: {what}")

    # -- after each step ---------------------------------------------------------------------------

    def stepped(self, machine: Watched, tx: Step, event: Any) -> None:
        """A step was decided; it is not committed."""
        world = self._world
        records = tx._records
        shard = tx.shard
        self._steps += 1
        if world.is_told:
            world.remark(machine.member.node, f"{tx.id} {_named(event)}", _effects(tx))
        for key in tx._changed:
            record = records.get(key)
            match record:
                case Call() if _last_ms(record) > tx.now_ms:
                    self._accuse(shard, [f"{record.id} has come later than now"])
                case AgentState() if record.since_ms > tx.now_ms:
                    self._accuse(shard, [f"{record.id} is {record.state} since later"])
        for effect in tx.effects:
            if isinstance(effect, Publish):
                for fact in effect.events:
                    if fact.kind == "offered" and not isinstance(event, Redrive):
                        self._accuse(shard, self._in_order(records, fact, tx.now_ms))
        self._accuse(shard, audit.ledger(records))
        calls, agents = split(records)
        self._accuse(shard, audit.agents_and_calls(calls, agents))
        if self._steps % INDEX_EVERY == 0:
            self._accuse(shard, audit.indexes(machine, records, world.centre, shard))

    def committed(self, shard: str, data: bytes) -> None:
        """A call as it is replicated: it keeps its place, and waits since it waits."""
        call = _CALL.decode(data)
        place = (call.priority, call.arrived_ms, call.order)
        known = self._places.setdefault((shard, call.id), place)
        if known != place:
            self._accuse(shard, [f"{call.id} has lost its place: {known} -> {place}"])
        if call.queued_ms:
            queued_ms = self._queued.setdefault((shard, call.id), call.queued_ms)
            if queued_ms != call.queued_ms:
                self._accuse(shard, [f"{call.id} waits since {call.queued_ms}, not {queued_ms}"])

    def _in_order(self, records: Any, fact: Event, now_ms: int) -> Iterable[str]:
        """Nobody who waits and could have had this agent has a better place."""
        offered = records.get(f"call/{fact.call}")
        if offered is None:
            return
        agent = fact.fields["agent"]
        queues = self._world.centre.agents[agent].queues
        for call in records.values():
            if (
                isinstance(call, Call)
                and call.state == WAITING
                and call.queue in queues
                and call.tried.get(agent, 0) <= now_ms
                and _place(call) < _place(offered)
            ):
                yield f"{call.id} waits and is passed over by {offered.id} for {agent}"

    def served(self, member: "Member", *, lost: bool) -> None:
        """A new active has opened the records: does everybody stand where he stood?"""
        for person in self._world.people if member.shard.core.epoch > 1 and not lost else ():
            if self._world.shard_of(person) == member.name:
                self.crossed |= person.calls_open
        records = member.shard.records
        machine = member.shard.machine
        assert isinstance(machine, Watched)
        shard = member.name
        self._accuse(shard, audit.indexes(machine, records, self._world.centre, shard))

    def lost(self, shard: str) -> None:
        """Every copy of the shard has died: whoever was in a call of it has lost it, and hangs up
        when he has heard nothing for a while."""
        concerned = [one for one in self._world.people if self._world.shard_of(one) == shard]
        for person in concerned:
            self.excused |= person.calls_open
        self._hang_up(concerned)

    def _hang_up(self, people: Iterable["Person"]) -> None:
        for person in people:
            calls = list(person.calls_open)
            self._world.at(SILENT_MS, lambda p=person, c=calls: p.hangs_up(c))  # type: ignore[misc]

    def promoted(self, shard: str) -> None:
        """What was acknowledged last is lost, and nobody can say which calls that concerns."""
        self._promoted[shard] = None
        for known in (self._places, self._queued):
            for key in [key for key in known if key[0] == shard]:
                del known[key]
        self.lost(shard)

    # -- what phones see ---------------------------------------------------------------------------

    def noted(self, fact: AnyFact) -> None:
        """A phone has seen something."""
        match fact:
            case facts.Over():
                self._over[fact.call] = None
            case facts.Offered():
                called = [one for one in self._world.people if one.human.who == fact.who]
                is_promoted = any(self._world.shard_of(one) in self._promoted for one in called)
                if is_promoted and fact.call in self._over:
                    self._again.setdefault(fact.call, fact.ms)
                if fact.call in self.excused or fact.call in self._again:
                    # He has had it before: his phone may take its CANCEL for the one of then.
                    self._hang_up(called)
            case facts.DoubleOffer():
                if fact.busy not in self.excused and fact.busy not in self._again:
                    self._world.rules.accuse(
                        f"{fact.who} is offered {fact.call} while {fact.state} in {fact.busy}"
                    )
            case _:
                pass

    # -- at the end --------------------------------------------------------------------------------

    def unfinished(self) -> str:
        """What is still to come to an end; "" if nothing is."""
        world = self._world
        for person in world.people:
            if not person.is_over:
                return f"{person.human.who} is in a call"
        for shard in world.shards:
            leader = world.leader(shard)
            if leader is None:
                return f"nobody serves {shard}"
            for key, record in leader.shard.records.items():
                if key.startswith(("call/", "outbox/", "lost")):
                    return f"{shard} has {key}"
                if isinstance(record, Leg) and record.state != ENDED:
                    return f"{shard} has {key} in state {record.state}"
        if world.media.sessions:
            return f"media sessions {list(world.media.sessions)}"
        return ""

    def finish(self) -> None:
        """All is over: has it ended well?"""
        world = self._world
        for shard in world.shards:
            leader = world.leader(shard)
            if leader is None:
                continue
            records = leader.shard.records
            calls, agents = split(records)
            self._accuse(shard, audit.agents_and_calls(calls, agents))
            self._accuse(
                shard,
                [
                    f"{one.id} is left with {one.call or one.leg}"
                    for one in agents.values()
                    if one.call or one.leg
                ],
            )
            self._accuse(shard, self._cdrs(shard, records["ledger"]))
        for person in world.people:
            self._accuse(person.human.who, [f"{fault!r}" for fault in person.faults])
        self._judge()

    def _withdrawn(self) -> set[str]:
        """Call-IDs of the offers that came to nothing, as the records have it."""
        database = self._world.database
        failed = {(fact["call"], fact["agent"]) for fact in database.facts("not_taken")}
        return {
            fact["call_id"]
            for fact in database.facts("offered")
            if (fact["call"], fact["agent"]) in failed
        }

    def _is_of_old_records(self, fact: AnyFact) -> bool:
        return fact.call in self._again and fact.ms >= self._again[fact.call]

    def _has_lost(self, person: "Person") -> bool:
        return isinstance(person.human, Caller) and person.human.call in self.excused

    def _cdrs(self, shard: str, kept: Any) -> Iterable[str]:
        database = self._world.database
        received = [fact["call"] for fact in database.facts("received", shard) if fact["call"]]
        ended = Counter(fact["call"] for fact in database.facts("ended", shard))
        yield from (f"{call} has no CDR" for call in received if call not in ended)
        if shard in self._promoted:  # what had ended since has ended again
            return
        yield from (f"{call} has {n} CDRs" for call, n in ended.items() if n != 1)
        yield from (f"{call} ended and was not received" for call in ended if call not in received)
        for kind in ("received", "queued", "answered", "abandoned", "failed", "refused"):
            stated = len(database.facts(kind, shard))
            if stated != getattr(kept, kind):
                yield f"ledger: {getattr(kept, kind)} {kind}, facts: {stated}"

    def _judge(self) -> None:
        world = self._world
        lost = {person.human.who for person in world.people if self._has_lost(person)}
        for fact in world.facts:
            if isinstance(fact, facts.Offered) and fact.shown in lost:
                self.excused[fact.call] = None
        log = [fact for fact in world.facts if not self._is_of_old_records(fact)]
        withdrawn = self._withdrawn()
        media_was_down = world.counts.get("fault: media restarts", 0)
        # All of it: what one who is excused did explains what another saw.
        for loss in judge(log).lost:
            if loss.call in self.excused:
                continue
            is_refused = loss.reason == "refused" and loss.detail == "503"
            if is_refused and (media_was_down or world.counts.get("leave", 0)):
                continue  # said so at once
            if loss.reason == "dropped" and loss.call in withdrawn:
                continue  # he picked up as his time to do so was over
            world.rules.accuse(f"lost: {loss.who} {loss.reason} {loss.detail} ({loss.call})")
        passed = self.excused.keys() | withdrawn
        taken = judge([fact for fact in log if fact.call not in passed])
        for double in taken.doubled:
            if double.reason != "second_offer":  # that was judged when it came
                world.rules.accuse(f"doubled: {double.who} {double.reason} {double.detail}")
        self.is_eventful = taken.answered > 0 or bool(self.excused)
        world.answered = taken.answered
        world.crossed = len(self.crossed.keys() - self.excused.keys())
        # `overtaken` allows for less lateness than there is here: the order is looked at
        # in each step, where it is exact.


def split(records: Any) -> tuple[dict[str, Call], dict[str, AgentState]]:
    """The calls and the agents among the records."""
    calls: dict[str, Call] = {}
    agents: dict[str, AgentState] = {}
    for record in records.values():
        if isinstance(record, Call):
            calls[record.id] = record
        elif isinstance(record, AgentState):
            agents[record.id] = record
    return calls, agents


def _last_ms(call: Call) -> int:
    return max(call.arrived_ms, call.queued_ms, call.answered_ms)


def _place(call: Call) -> tuple[int, int, int]:
    return (-call.priority, call.arrived_ms, call.order)


def _named(event: Any) -> str:
    """An event for a reader, without its content."""
    message = getattr(event, "message", None)
    if message is None:
        return f"{type(event).__name__} {getattr(event, 'key', '')}".strip()
    return f"{type(event).__name__} {message.method or message.status} {message.call_id}"


def _effects(tx: Step) -> str:
    return ", ".join(type(effect).__name__ for effect in tx.effects)
