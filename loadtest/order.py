"""Did callers get agents in the order in which they came? Judged from both ends' phones.

A call of equal number and priority *certainly came before* another if it had been answered (200)
before the other was even sent: no tolerance is needed, whatever the network did. A caller is
*overtaken* when somebody who certainly came later was offered to an agent who took him, while he
still waited. That is wrong, unless

- his own offer followed so soon that both decisions may have been made in order and delivered out
  of order: CONCURRENT_MS, or FAULT_MS where a marked fault lies near, since an INVITE is repeated
  after T1 and once more by a new active; or
- he may have had his turn: a failed offer (declined, not answered, withdrawn, or picked up just as
  the caller left) that no other overtaken caller has used as his excuse, that began before and
  either was still ringing (or had ended less than CONCURRENT_MS ago), or had failed at this very
  agent in the last REOFFER_MS, for which time a call is not offered to that agent again. An offer
  that showed another caller's name is no excuse.
"""

from bisect import insort
from collections.abc import Iterable, Sequence

import msgspec

from loadtest.view import NEVER, AgentCall, CallerCall, Talk, View

CONCURRENT_MS = 50
FAULT_MS = 1_500
FAULT_NEAR_MS = 3_000
REOFFER_MS = 5_500


class Overtaken(msgspec.Struct, frozen=True):
    """Caller `who` waited while `by`, who came later, was offered to `agent` `ms` before him.

    `ms` counts to his own offer, or to his leaving where he got none.
    """

    who: str
    call: str
    by: str
    by_call: str
    agent: str
    ms: int


class _Served:
    """A caller and the offer that connected him, if any."""

    __slots__ = ("call", "offer", "offered_ms")

    def __init__(self, call: CallerCall, offer: AgentCall | None) -> None:
        self.call = call
        self.offer = offer
        self.offered_ms = offer.offered_ms if offer else NEVER


def overtaken(view: View, talked: Sequence[Talk]) -> list[Overtaken]:
    """Every caller who was overtaken without an excuse, and by whom first; in order of arrival."""
    first: dict[str, AgentCall] = {}
    for talk in talked:
        if talk.agent is not None:
            first.setdefault(talk.caller.call, talk.agent)
    queues: dict[tuple[str, int], list[_Served]] = {}
    for call in view.callers.values():
        if call.answered_ms != NEVER:
            queue = queues.setdefault((call.number, call.priority), [])
            queue.append(_Served(call, first.get(call.call)))
    joined = {(talk.agent.who, talk.agent.call) for talk in talked if talk.agent is not None}
    failed = sorted(
        (
            offer
            for phone in view.agents.values()
            for offer in phone.calls
            if offer.end.over_ms != NEVER and (offer.who, offer.call) not in joined
        ),
        key=lambda offer: offer.offered_ms,
    )
    faults = [mark.ms for mark in view.marks]
    absent = sum(phone.absent for phone in view.agents.values())
    found = [
        finding for queue in queues.values() for finding in _in_queue(queue, failed, faults, absent)
    ]
    seen: dict[str, Overtaken] = {}
    for finding in found:
        seen.setdefault(finding.call, finding)
    return sorted(seen.values(), key=lambda found: view.callers[found.call].invited_ms)


def _in_queue(
    queue: list[_Served], failed: Sequence[AgentCall], faults: Sequence[int], absent: int
) -> Iterable[Overtaken]:
    # From the last served to the first: `later` holds those served after the one looked at.
    queue.sort(key=lambda served: (-served.offered_ms, served.call.invited_ms))
    later: list[tuple[int, int]] = []
    found: list[Overtaken] = []
    for place, served in enumerate(queue):
        if served.offer is not None:
            passed = []
            for answered_ms, other in later:
                if answered_ms > served.call.invited_ms:
                    break
                if _waited(queue[other], served, faults):
                    passed.append(queue[other])
            found += _without_excuse(passed, served, served.offer, failed)[absent:]
        insort(later, (served.call.answered_ms, place))
    return reversed(found)


def _waited(one: _Served, other: _Served, faults: Sequence[int]) -> bool:
    """`one` still waited, and went on waiting, when `other` was offered."""
    near = any(abs(other.offered_ms - fault) <= FAULT_NEAR_MS for fault in faults)
    until = min(one.offered_ms, one.call.gone_ms)
    return until > other.offered_ms + (FAULT_MS if near else CONCURRENT_MS)


def _without_excuse(
    passed: Sequence[_Served],
    served: _Served,
    offer: AgentCall,
    failed: Sequence[AgentCall],
) -> list[Overtaken]:
    if not passed:
        return []
    found = []
    excuses = [old for old in failed if _excuses(old, offer)]
    for one in sorted(passed, key=lambda each: each.call.answered_ms):
        used = next((e for e in excuses if e.shown in ("", one.call.identity)), None)
        if used is not None:
            excuses.remove(used)
            continue
        until = min(one.offered_ms, one.call.gone_ms)
        found.append(
            Overtaken(
                who=one.call.who,
                call=one.call.call,
                by=served.call.who,
                by_call=served.call.call,
                agent=offer.who,
                ms=until - offer.offered_ms,
            )
        )
    return found


def _excuses(failed: AgentCall, offer: AgentCall) -> bool:
    """Whoever was in this failed offer need not have been served by `offer`."""
    now_ms, over_ms = offer.offered_ms, failed.end.over_ms
    if failed.offered_ms > now_ms:
        return False
    if over_ms + CONCURRENT_MS >= now_ms:
        return True
    return failed.who == offer.who and over_ms + REOFFER_MS >= now_ms
