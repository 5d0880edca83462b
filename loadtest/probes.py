"""How long a shard was silent, from fresh requests inside its calls: each sent once, 10 ms apart.

A phone's own repeats come after half a second, so they cannot tell. An answer stands for a commit:
the CSeq it answers is in the record.
"""

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from loadtest.facts import AnyFact, ProbeAnswered, Probed
from loadtest.view import NEVER


class Asked(msgspec.Struct, frozen=True):
    """One request, and the answer it got, if any."""

    call: str
    sent_ms: float
    answered_ms: float = NEVER
    status: int = 0


def asked(log: Iterable[AnyFact]) -> list[Asked]:
    """All requests of a log in the order in which they were sent."""
    found: dict[tuple[str, str, int], Asked] = {}
    for fact in log:
        match fact:
            case Probed():
                found[fact.who, fact.call, fact.n] = Asked(fact.call, fact.ms)
            case ProbeAnswered():
                sent = found.get((fact.who, fact.call, fact.n))
                if sent is not None and sent.answered_ms == NEVER:
                    found[fact.who, fact.call, fact.n] = Asked(
                        fact.call, sent.sent_ms, fact.ms, fact.status
                    )
            case _:
                pass
    return sorted(found.values(), key=lambda one: one.sent_ms)


def first_answer_ms(probes: Iterable[Asked], still_ms: float) -> float | None:
    """When the first answer came to what was sent once the old active stood still."""
    answers = [p.answered_ms for p in probes if p.sent_ms > still_ms and p.answered_ms != NEVER]
    return min(answers, default=None)


def silence_ms(probes: Iterable[Asked], since_ms: float, until_ms: float) -> float | None:
    """The longest time without any answer that touches this span; None: nothing was asked in it."""
    around = [p for p in probes if p.answered_ms != NEVER or since_ms <= p.sent_ms <= until_ms]
    if not any(since_ms <= p.sent_ms <= until_ms for p in around):
        return None
    times = sorted({p.answered_ms for p in around if p.answered_ms != NEVER})
    before = [ms for ms in times if ms <= since_ms]
    after = [ms for ms in times if ms >= until_ms]
    inside = [ms for ms in times if since_ms < ms < until_ms]
    edges = [before[-1] if before else since_ms, *inside, after[0] if after else until_ms]
    return max(b - a for a, b in pairwise(edges))
