"""What people see of a shard: documents made of its records, for the command line and the API.

The names in here are an interface; more may be added, none changes its meaning.
"""

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from calls.in_force import in_force
from calls.records import (
    OFFERING,
    PROMPT,
    RINGING,
    TALKING,
    WAITING,
    AgentState,
    Call,
    Ledger,
    Settings,
)
from calls.trunks import is_trunk

Document = dict[str, Any]

STATE_NAMES = {
    RINGING: "ringing",
    PROMPT: "prompt",
    WAITING: "waiting",
    OFFERING: "offering",
    TALKING: "talking",
}


def calls(records: Mapping[str, Any], now_ms: int) -> list[Document]:
    """Every live call, in order of arrival."""
    found = [record for record in records.values() if isinstance(record, Call)]
    found.sort(key=lambda call: (call.arrived_ms, call.order))
    return [_call(call, now_ms) for call in found]


def _call(call: Call, now_ms: int) -> Document:
    return {
        "call": call.id,
        "number": call.number,
        "caller": call.caller,
        "queue": call.queue,
        "state": STATE_NAMES[call.state],
        "agent": call.agent,
        "priority": call.priority,
        "age_ms": now_ms - call.arrived_ms,
        "wait_ms": (call.answered_ms or now_ms) - call.queued_ms if call.queued_ms else 0,
        "talk_ms": now_ms - call.answered_ms if call.answered_ms else 0,
        "offers": call.offers,
    }


def counts(records: Mapping[str, Any]) -> Document:
    """How many calls there are, and how many of them wait and talk."""
    states = Counter(record.state for record in records.values() if type(record) is Call)
    return {
        "calls": states.total(),
        "waiting": states[WAITING] + states[OFFERING],
        "talking": states[TALKING],
        "before_queue": states[RINGING] + states[PROMPT],
    }


def ledger(records: Mapping[str, Any], live: Document | None = None) -> Document:
    """Where every call went; `unaccounted` is 0, or a call was lost without a trace.

    `waiting` and `before_queue` are counted in the live records, everything else when it happened.
    `live`: `counts` of the same records, for who has them already.
    """
    kept = records.get("ledger") or Ledger()
    live = counts(records) if live is None else live
    classes = {name: getattr(kept, name) for name in Ledger.__struct_fields__}
    arrivals = kept.received - (
        kept.refused + kept.ended_before_queue + live["before_queue"] + kept.queued
    )
    queue = kept.queued - (live["waiting"] + kept.left_queue)
    return {
        **classes,
        "before_queue": live["before_queue"],
        "waiting": live["waiting"],
        "unaccounted": abs(arrivals) + abs(queue),
    }


def callers(records: Mapping[str, Any], numbers: Container[str], queues: Container[str]) -> int:
    """How many callers have dialled one of these numbers, or are in one of these queues."""
    return sum(
        record.number in numbers or record.queue in queues
        for record in records.values()
        if type(record) is Call
    )


def queues(records: Mapping[str, Any], shard: str, now_ms: int) -> list[Document]:
    """Every queue of the shard with who waits in it and which agents serve it.

    `removed`: it is declared no more, takes no new calls and goes with its last one.
    """
    settings = settings_of(records)
    if settings is None:
        return []
    centre = in_force(settings.centre, shard, settings.closing)
    waits: dict[str, list[int]] = {name: [] for name in centre.queues}
    talking = dict.fromkeys(centre.queues, 0)
    for record in records.values():
        if isinstance(record, Call):
            if record.state in (WAITING, OFFERING):
                waits.setdefault(record.queue, []).append(now_ms - record.queued_ms)
            elif record.state == TALKING:
                talking[record.queue] = talking.get(record.queue, 0) + 1
    states = {
        record.id: record.state for record in records.values() if isinstance(record, AgentState)
    }
    return [
        {
            "queue": name,
            "shard": shard,
            "strategy": queue.strategy,
            "waiting": len(waits[name]),
            "longest_wait_ms": max(waits[name], default=0),
            "talking": talking[name],
            "agents": sum(name in agent.queues for agent in centre.agents.values()),
            "ready": sum(
                name in agent.queues and states.get(agent_id) == "ready"
                for agent_id, agent in centre.agents.items()
            ),
            "removed": name in settings.closing,
        }
        for name, queue in centre.queues.items()
    ]


def agents(records: Mapping[str, Any], shard: str, now_ms: int) -> list[Document]:
    """Every agent of the shard and the state he is in.

    `removed`: he is declared no more, and finishes what he has.
    """
    settings = settings_of(records)
    if settings is None:
        return []
    centre = in_force(settings.centre, shard, settings.closing)
    declared = in_force(settings.centre, shard, {}).agents
    found = [record for record in records.values() if isinstance(record, AgentState)]
    found.sort(key=lambda agent: agent.id)
    return [
        {
            "agent": agent.id,
            "name": centre.agents[agent.id].name if agent.id in centre.agents else "",
            "shard": shard,
            "state": agent.state,
            "reason": agent.reason,
            "for_ms": now_ms - agent.since_ms,
            "call": agent.call,
            "queues": list(centre.agents[agent.id].queues) if agent.id in centre.agents else [],
            "removed": agent.id not in declared,
        }
        for agent in found
    ]


def version(records: Mapping[str, Any]) -> int:
    """The version of the centre that the shard decides by; 0: it knows none yet."""
    settings = settings_of(records)
    return settings.version if settings else 0


def is_served_out(records: Mapping[str, Any]) -> bool:
    """Is nothing left that a call, a phone or the database still waits for?"""
    return all(key in ("settings", "ledger") or is_trunk(key) for key in records)


def settings_of(records: Mapping[str, Any]) -> Settings | None:
    found: Settings | None = records.get("settings")
    return found
