"""What the phones' logs show of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtest import facts
from loadtest.verdict import FAULT_MS, Gaps, Verdict

GAP_MS = 60
"""A gap up to this is nothing a talker notices..."""
WORSE_MS = 20
"""...nor one that is so much longer than what he had heard in the 10 s before."""
RELAYED_MS = 40
"""What GAP_MS leaves to the cluster and its network, a packet each 20 ms being due."""
DELAY_MS = 500
"""What a standby's fault may add to any answer."""
SILENCE_MS = 2_000
"""What the death of a media server may cost of a talk."""


@dataclass
class Delays:
    """How long answers took, in ms: of what began in the 5 s before a moment and since."""

    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    @property
    def added_ms(self) -> int:
        """The longest since, over what was usual before; 0 where nothing was asked."""
        return max(self.after) - round(median(self.before)) if self.before and self.after else 0


@dataclass
class Findings:
    """What a run showed."""

    verdict: Verdict
    problems: list[str]
    takeover_ms: dict[str, int]
    """By shard: from the fault to its new active's "serving"."""
    delays: dict[str, Delays]
    cdrs: int
    load: str = ""

    def of(self, mark: str) -> Gaps:
        return next(gaps for gaps in self.verdict.gaps if gaps.mark == mark)

    def line(self) -> str:
        """The figures for a reader."""
        v = self.verdict
        gaps = "; ".join(
            f"{g.mark}: talkers {g.talkers} {g.talkers_before_ms}→{g.talkers_after_ms} ms, "
            f"listeners {g.listeners} {g.listeners_before_ms}→{g.listeners_after_ms} ms, "
            f"phones late {g.own_late_ms} ms"
            for g in v.gaps
        )
        waits = ", ".join(
            f"{what} +{d.added_ms} ms ({len(d.before)}/{len(d.after)})"
            for what, d in self.delays.items()
        )
        return (
            f"offered {v.offered} answered {v.answered} abandoned {v.abandoned} cdrs {self.cdrs} "
            f"lost {len(v.lost)} doubled {len(v.doubled)} overtaken {len(v.overtaken)} "
            f"missing {v.missing} takeover {self.takeover_ms} | {gaps} | {waits} | {self.load}"
        )


def delays(log: Sequence[facts.AnyFact]) -> dict[str, Delays]:
    """How long INVITEs and BYEs of callers and agents waited for their 200 around the mark."""
    marks = [fact.ms for fact in log if isinstance(fact, facts.Mark) and fact.name == "fault"]
    found = {"INVITE→200": Delays(), "BYE→200": Delays()}
    if not marks:
        return found
    fault_ms = min(marks)
    asked: dict[tuple[str, str, str], int] = {}
    for fact in sorted(log, key=lambda each: each.ms):
        begun_ms, what = None, ""
        match fact:
            case facts.Invited():
                asked[fact.who, fact.call, "INVITE→200"] = fact.ms
            case facts.ByeSent():
                asked[fact.who, fact.call, "BYE→200"] = fact.ms
            case facts.Answered():
                what = "INVITE→200"
                begun_ms = asked.get((fact.who, fact.call, what))
            case facts.ByeAnswered():
                what = "BYE→200"
                begun_ms = asked.get((fact.who, fact.call, what))
            case _:
                pass
        if begun_ms is None:
            continue
        took_ms = fact.ms - begun_ms
        if fault_ms - FAULT_MS <= begun_ms and fact.ms < fault_ms:
            found[what].before.append(took_ms)
        elif fact.ms >= fault_ms and begun_ms <= fault_ms + FAULT_MS:
            found[what].after.append(took_ms)
    return found


def gap_is_small(gaps: Gaps) -> bool:
    """No talker and no listener noticed the fault.

    What a talker hears was sent by a simulated phone: where these were late themselves, a gap is
    theirs as far as that goes, and the cluster's only beyond it.
    """

    def is_small(before_ms: int, after_ms: int) -> bool:
        return after_ms <= GAP_MS or after_ms <= before_ms + WORSE_MS

    return is_small(gaps.listeners_before_ms, gaps.listeners_after_ms) and (
        is_small(gaps.talkers_before_ms, gaps.talkers_after_ms)
        or gaps.talkers_after_ms - gaps.own_late_ms <= RELAYED_MS
    )


def nothing_lost(found: Findings, *, media_died: bool = False) -> None:
    """Assert what holds after any fault. Without its media server nobody hears all packets."""
    print(found.line())
    assert found.problems == []
    verdict = found.verdict
    assert (verdict.lost, verdict.doubled, verdict.overtaken) == ([], [], [])
    assert verdict.ok
    assert verdict.order_kept
    assert verdict.odd == []
    if not media_died:
        assert verdict.missing == 0
