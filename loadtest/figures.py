"""How long things took, as the phones saw it: what benchmarks print."""

from collections.abc import Iterable, Sequence

import msgspec

from loadtest.facts import AnyFact
from loadtest.view import NEVER, AgentPhone, gather


class Spread(msgspec.Struct, frozen=True):
    """Times of `count` events, in ms."""

    count: int
    p50_ms: int
    p99_ms: int
    max_ms: int


class Figures(msgspec.Struct, frozen=True):
    """Whole milliseconds by the phones' clock."""

    setup: Spread
    """A caller's INVITE to its 200."""
    wait: Spread
    """A caller's 200 to his hearing an agent."""
    next_offer: Spread
    """The end of an agent's call, sent or received, to the next INVITE at his phone."""
    bye: Spread
    """A BYE to its final answer."""


def spread(times_ms: Iterable[int]) -> Spread:
    """Median, 99th percentile (nearest rank) and largest; zeros for nothing."""
    times = sorted(times_ms)
    if not times:
        return Spread(0, 0, 0, 0)
    return Spread(len(times), _rank(times, 50), _rank(times, 99), times[-1])


def _rank(times: Sequence[int], percent: int) -> int:
    return times[max(0, -(-len(times) * percent // 100) - 1)]


def figures(log: Sequence[AnyFact]) -> Figures:
    """The figures of a log."""
    view = gather(log)
    callers = view.callers.values()
    voices = {phone.identity for phone in view.agents.values()}
    first_heard = (
        (call, next((s.first_ms for s in call.ears.sounds if s.what in voices), NEVER))
        for call in callers
        if call.answered_ms != NEVER
    )
    ends = [call.end for call in callers] + [offer.end for offer in view.offers.values()]
    return Figures(
        setup=spread(c.answered_ms - c.invited_ms for c in callers if c.answered_ms != NEVER),
        wait=spread(ms - call.answered_ms for call, ms in first_heard if ms != NEVER),
        next_offer=spread(ms for phone in view.agents.values() for ms in _turns(phone)),
        bye=spread(end.bye_answered_ms - end.bye_sent_ms for end in ends if end.bye_status),
    )


def _turns(phone: AgentPhone) -> Iterable[int]:
    for before, after in zip(phone.calls, phone.calls[1:], strict=False):
        if before.answered_ms != NEVER and before.end.hung_up_ms <= after.offered_ms:
            yield after.offered_ms - before.end.hung_up_ms
