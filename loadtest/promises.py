"""Committed and lost: what a phone was told by the cluster, and what then no longer held."""

from collections.abc import Sequence

from loadtest.facts import AnyFact
from loadtest.lost import CROSSING_MS, Loss
from loadtest.probes import asked
from loadtest.view import AgentCall, CallerCall, gather

FORGOTTEN = (408, 481)
"""Answers inside a call that say: there is no such call."""


def broken(log: Sequence[AnyFact], losses: Sequence[Loss]) -> list[str]:
    """A line for each promise that was not kept, to callers and agents.

    A 200 to an INVITE, to a hold, to a BYE: each says that the cluster has it. A call that it then
    does not know, or ends though nobody hung up, was lost after it was committed. `losses`: of the
    verdict on this log.
    """
    view = gather(log)
    found = [
        f"{loss.who}: {loss.reason} {loss.detail} ({loss.call})"
        for loss in losses
        if loss.reason in ("dropped", "bye_refused")
    ]
    legs: list[CallerCall | AgentCall] = [*view.callers.values(), *view.offers.values()]
    for leg in legs:
        found += [
            f"{leg.who}: hold refused with {held.status} ({leg.call})"
            for held in leg.holds
            if held.status in FORGOTTEN and not _was_ended(leg, held.ms)
        ]
    for probe in asked(log):
        call = view.callers.get(probe.call)
        if call is None or probe.status < 300:
            continue
        if not _was_ended(call, probe.answered_ms):
            found.append(f"{call.who}: asked in his call, told {probe.status} ({call.call})")
    return found


def _was_ended(leg: CallerCall | AgentCall, ms: float) -> bool:
    """The other side had hung up: that this phone did not know it yet is nobody's fault."""
    return leg.end.bye_received_ms <= ms + CROSSING_MS
