"""A change of the centre while calls are up: whoever is in a call keeps it, whatever is declared.

Calls keep the queue they came to; an agent who is declared no more finishes what he has; a queue
that is declared no more is served out (`calls.in_force`). The newest version wins: a node that is
behind what its shard has committed changes nothing.

The version is in force at once; the agents whom it concerns are settled a few hundred at a step, so
that no change holds up beats and calls. Who is left is found again from the records.
"""

from calls import agents, flow, inputs, trunks
from calls.centre import Centre, ClosingQueue
from calls.effects import GoOn
from calls.in_force import in_force
from calls.records import Settings
from calls.turn import Turn

SETTLED_AT_ONCE = 500
"""Agents; some ten milliseconds."""


def configure(t: Turn, event: inputs.Configure) -> None:
    """Decide by this version from now on, unless a newer one, or this one, is in force."""
    known: Settings | None = t.tx.get("settings")
    if known is None or event.version > known.version:
        settings = Settings(event.centre, event.version, _closing(t, event.centre))
        t.tx.put("settings", settings)
        _adopt(t, settings)
        trunks.forget_others(t, event.centre.inventory.trunks)
        t.fact("configured", version=event.version)
    settle_some(t)


def _closing(t: Turn, declared: Centre) -> dict[str, ClosingQueue]:
    """The queues in force that are declared here no more and have calls."""
    fresh = in_force(declared, t.shard, {}).queues
    gone = {name: queue for name, queue in t.centre.queues.items() if name not in fresh}
    calls = t.book.calls_in(gone, t.call)
    return {
        name: ClosingQueue(
            queue, {who: agent for who, agent in t.centre.agents.items() if name in agent.queues}
        )
        for name, queue in gone.items()
        if calls[name]
    }


def _adopt(t: Turn, settings: Settings) -> None:
    """Decide by `settings`; whom that changes is to be settled anew."""
    before = t.centre.agents
    t.book.decide_by(settings)
    t.centre = t.book.centre
    t.book.closing = t.book.calls_in(settings.closing, t.call)
    now = t.centre.agents
    known = t.book.agents
    concerned = dict.fromkeys(t.book.unsettled)
    concerned |= {name: None for name in known if name not in now or now[name] != before.get(name)}
    concerned |= {name: None for name in now if name not in known}
    t.book.unsettled = list(concerned)


def settle_some(t: Turn) -> None:
    """Agents whom a change concerns: the next of them, and the rest with the next step."""
    book = t.book
    some, book.unsettled = book.unsettled[:SETTLED_AT_ONCE], book.unsettled[SETTLED_AT_ONCE:]
    for name in some:
        if t.agent(name) is not None:
            flow.settle(t, t.edit_agent(name))
        elif name in t.centre.agents:
            flow.settle(t, agents.declare(t, name))
    if book.unsettled:
        t.emit(GoOn())


def close_queues(t: Turn) -> None:
    """What the end of a step finds: closing queues whose last call has ended are closed."""
    closed = [name for name, calls in t.book.closing.items() if not calls]
    if not closed:
        return
    settings: Settings = t.tx.edit("settings")
    settings.closing = {
        name: queue for name, queue in settings.closing.items() if name not in closed
    }
    _adopt(t, settings)
    settle_some(t)
    for name in closed:
        t.fact("closed", queue=name)
