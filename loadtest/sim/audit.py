"""What must be true of a shard of calls after every step: the ledger, agents and calls, queues.

Each function gives what is wrong, a line for each finding.
"""

from collections.abc import Mapping
from typing import Any

from calls import view
from calls.acd.engine import Acd
from calls.centre import Centre
from calls.machine import Calls
from calls.records import OFFERING, TALKING, WAITING, AgentState, Call

LATE_MS = 400
"""A timer that was due while nobody served fires so late."""


def audit_records(
    machine: Calls, records: Mapping[str, Any], centre: Centre, now_ms: int, shard: str = "main"
) -> list[str]:
    """The records after a step: the ledger, agents and calls, and the indexes over them."""
    calls = {key[5:]: record for key, record in records.items() if key.startswith("call/")}
    agents = {key[6:]: record for key, record in records.items() if key.startswith("agent/")}
    return [
        *ledger(records),
        *agents_and_calls(calls, agents),
        *_idle_and_waiting(calls, agents, machine.book.centre, now_ms),
        *indexes(machine, records, centre, shard),
    ]


def ledger(records: Mapping[str, Any]) -> list[str]:
    """Every call is in a class, each counted once."""
    stated = view.ledger(records)
    return [f"unaccounted: {stated}"] if stated["unaccounted"] else []


def agents_and_calls(calls: Mapping[str, Call], agents: Mapping[str, AgentState]) -> list[str]:
    """An agent has at most one offer or call, a call at most one agent, and both know it."""
    found = []
    for call in calls.values():
        has_agent = call.state in (OFFERING, TALKING)
        if bool(call.agent) != has_agent:
            found.append(f"call {call.id} in state {call.state} with agent {call.agent!r}")
        if has_agent and agents[call.agent].call != call.id:
            found.append(f"agent {call.agent} does not know his call {call.id}")
    for agent in agents.values():
        is_busy = agent.state in ("offered", "talking")
        if is_busy != bool(agent.call) or (agent.call and agent.call not in calls):
            found.append(f"agent {agent.id} is {agent.state} with call {agent.call!r}")
    return found


def _idle_and_waiting(
    calls: Mapping[str, Call], agents: Mapping[str, AgentState], centre: Centre, now_ms: int
) -> list[str]:
    """Nobody waits while an agent who may take him is idle."""
    idle = [a for a in agents.values() if a.state == "ready" and not a.leg and not a.call]
    return [
        f"{call.id} waits and {agent.id} is idle"
        for call in calls.values()
        for agent in idle
        if call.state == WAITING
        and agent.id in centre.agents
        and call.queue in centre.agents[agent.id].queues
        and call.tried.get(agent.id, 0) <= now_ms - LATE_MS
    ]


def indexes(machine: Calls, records: Mapping[str, Any], centre: Centre, shard: str) -> list[str]:
    """What is derived from the records is what anybody would derive who opened them now."""
    found = []
    fresh = Calls(shard, ("", 0), centre)
    fresh.open(records)
    for name in ("calls", "legs"):
        mine, opened = getattr(machine.book, name), getattr(fresh.book, name)
        if {key: sorted(value or ()) for key, value in mine.items()} != {
            key: sorted(value or ()) for key, value in opened.items()
        }:
            found.append(f"index of {name}: {mine}, by the records {opened}")
    if _lines_of(machine.book.acd) != _lines_of(fresh.book.acd):
        found.append(
            f"queues: {_lines_of(machine.book.acd)}, by the records {_lines_of(fresh.book.acd)}"
        )
    return found + _in_force(machine, fresh, records)


def _in_force(machine: Calls, fresh: Calls, records: Mapping[str, Any]) -> list[str]:
    """What the shard decides by is what the records say, and nobody waits where nobody serves."""
    found = []
    for name in ("declared", "centre", "closing"):
        mine, opened = getattr(machine.book, name), getattr(fresh.book, name)
        if mine != opened:
            found.append(f"{name}: {mine}, by the records {opened}")
    if sorted(machine.book.agents) != sorted(fresh.book.agents):
        found.append(f"agents: {list(machine.book.agents)}, by the records {fresh.book.agents}")
    for record in records.values():
        if isinstance(record, Call) and record.queue not in fresh.book.centre.queues:
            found.append(f"{record.id} is in queue {record.queue}, which is not in force")
    if not all(fresh.book.closing.values()):
        found.append(f"closing without a call: {fresh.book.closing}")
    return found


def _lines_of(acd: Acd) -> tuple[Any, ...]:
    """Who waits and who is idle, in order, by queue."""
    return (
        {queue: line for queue, line in acd._waiting.items() if line},
        {queue: line for queue, line in acd._idle.items() if line},
    )
