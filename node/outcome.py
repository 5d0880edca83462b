"""What a demo was asked for and how it went, and that as JSON."""

import dataclasses
from typing import Any

import msgspec

from loadtest.identity import Kind
from loadtest.verdict import Verdict

CALLER = Kind.CALLER.value


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for."""

    calls: int = 60
    agents: int = 20
    nodes: int = 3
    fault: str = "kill"
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How it went."""

    verdict: Verdict
    problems: list[str]
    """Findings beyond the phones' verdict; none is good."""
    node: str
    """The node that got the fault; empty: none did."""
    takeover_ms: int
    """From the fault to the first look that showed another node serving; 0: there was none."""
    seconds: float
    logs: str = ""
    """Where the logs are, when they were kept."""

    @property
    def is_ok(self) -> bool:
        return self.verdict.ok and not self.problems

    @property
    def lost(self) -> int:
        """Calls that were lost. One may be lost in several ways and on both its phones, which do
        not know each other: so many as the callers say, or the agents when they say more.
        """
        legs = {(loss.who[:1] == CALLER, loss.call) for loss in self.verdict.lost}
        of_callers = sum(is_caller for is_caller, _ in legs)
        return max(of_callers, len(legs) - of_callers)

    @property
    def gap_ms(self) -> int:
        """The largest gap that any talker heard in the 5 s after the fault."""
        return max((gap.talkers_after_ms for gap in self.verdict.gaps), default=0)

    @property
    def gap_before_ms(self) -> int:
        """The largest gap that any talker heard in the 10 s before the fault."""
        return max((gap.talkers_before_ms for gap in self.verdict.gaps), default=0)


def as_document(options: Options, outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON: an interface, names stay."""
    return {
        "ok": outcome.is_ok,
        "options": dataclasses.asdict(options),
        "fault": {"node": outcome.node, "takeover_ms": outcome.takeover_ms},
        "offered": outcome.verdict.offered,
        "answered": outcome.verdict.answered,
        "lost": outcome.lost,
        "order_kept": outcome.verdict.order_kept,
        "largest_gap_ms": {"before": outcome.gap_before_ms, "after": outcome.gap_ms},
        "problems": outcome.problems,
        "seconds": outcome.seconds,
        "logs": outcome.logs,
        "verdict": msgspec.to_builtins(outcome.verdict),
    }
