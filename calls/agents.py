"""An agent's state: which changes there are, and what each means for the idle list.

    signed_out ─▶ not_ready ◀─▶ ready ─▶ offered ─▶ talking ─▶ wrap_up ─▶ ready
                      ▲                     │
                      └── or paused ◀───────┘ not taken

Invariant: an agent has at most one call and one leg; he stands in the idle list exactly while he
is ready and the last leg with his phone has ended.
"""

from calls.records import AgentState
from calls.turn import Turn

STATES = ("signed_out", "not_ready", "ready")
"""What can be asked for; the other states come with calls."""


def _enter(t: Turn, agent: AgentState, state: str, reason: str = "", until_ms: int = 0) -> None:
    if (agent.state, agent.reason) != (state, reason):
        t.fact("agent", agent.call, agent=agent.id, state=state, reason=reason)
        agent.since_ms = t.now_ms
    agent.state = state
    agent.reason = reason
    agent.until_ms = until_ms


def settle(t: Turn, agent: AgentState) -> bool:
    """End a pause or wrap-up that is over; whether he is idle now and may be offered a call.

    Who is declared no more is forgotten once he has no call.
    """
    if agent.id not in t.centre.agents:
        t.book.acd.busy(agent.id)
        if not agent.call and not agent.leg:
            t.tx.delete(f"agent/{agent.id}")
            t.book.agents.pop(agent.id, None)
            t.fact("agent", agent=agent.id, state="removed", reason="configured")
        return False
    if agent.state in ("wrap_up", "paused") and agent.until_ms <= t.now_ms:
        _resume(t, agent)
    idle = agent.state == "ready" and not agent.leg and not agent.call
    if idle:
        t.book.acd.idle(agent.id, queues=t.centre.agents[agent.id].queues, idle_ms=agent.idle_ms)
    else:
        t.book.acd.busy(agent.id)
    return idle


def _resume(t: Turn, agent: AgentState) -> None:
    """Back to the state he asked for, or ready."""
    state, reason = agent.wanted or "ready", agent.wanted_reason
    agent.wanted = agent.wanted_reason = ""
    _enter(t, agent, state, reason)


def take(t: Turn, agent: AgentState, *, call: str, leg: str) -> None:
    """He is offered a call."""
    assert agent.state == "ready"
    assert not agent.call
    assert not agent.leg
    t.book.acd.busy(agent.id)
    agent.call = call
    agent.leg = leg
    _enter(t, agent, "offered")


def talking(t: Turn, agent: AgentState) -> None:
    _enter(t, agent, "talking")


def not_taken(t: Turn, agent: AgentState, reason: str, *, pause_ms: int, blame: bool) -> None:
    """He did not take an offer: a configured pause, or not ready until he says otherwise."""
    agent.call = ""
    agent.idle_ms = t.now_ms if blame else agent.idle_ms
    if agent.wanted or not blame:
        _resume(t, agent)
    elif pause_ms:
        _enter(t, agent, "paused", reason, t.now_ms + pause_ms)
    else:
        _enter(t, agent, "not_ready", reason)


def call_over(t: Turn, agent: AgentState, *, wrap_up_ms: int, talked: bool) -> None:
    """His call has ended, or the caller hung up before he took it."""
    agent.call = ""
    if talked:
        agent.idle_ms = t.now_ms + wrap_up_ms
    if wrap_up_ms:
        _enter(t, agent, "wrap_up", "", t.now_ms + wrap_up_ms)
    else:
        _resume(t, agent)


def ask(t: Turn, agent: AgentState, state: str, reason: str) -> None:
    """He, or a supervisor for him, asks for a state; on a call it comes after the call."""
    assert state in STATES
    if agent.state in ("offered", "talking"):
        agent.wanted, agent.wanted_reason = state, reason
        return
    if agent.state != "ready" and state == "ready":
        agent.idle_ms = t.now_ms
    agent.wanted = agent.wanted_reason = ""
    _enter(t, agent, state, reason)


def give_up(t: Turn, agent: AgentState) -> None:
    """A step over this agent raised: he gets nothing until he says that he is ready."""
    t.book.acd.busy(agent.id)
    if agent.call:
        agent.wanted, agent.wanted_reason = "not_ready", "bug"
    else:
        _enter(t, agent, "not_ready", "bug")


def declare(t: Turn, name: str) -> AgentState:
    """An agent whom the configuration names for the first time."""
    agent = AgentState(
        id=name,
        state=t.centre.agents[name].state,
        reason="configured",
        since_ms=t.now_ms,
        idle_ms=t.now_ms,
    )
    t.tx.put(f"agent/{name}", agent)
    t.book.agents[name] = None
    t.fact("agent", agent=name, state=agent.state, reason=agent.reason)
    return agent
