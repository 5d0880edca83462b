"""What one run under a fault showed, and all runs of it together: figures from phones' logs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loadtest.facts import AnyFact
from loadtest.figures import Spread, spread
from loadtest.probes import asked, first_answer_ms, silence_ms
from loadtest.promises import broken
from loadtest.survival import Cell, cells, fates, merged
from loadtest.verdict import FAULT_MS, Verdict, judge
from node.scene import WRAP_UP_MS

MOMENTS = ("asked_ms", "won_ms", "moved_ms", "read_ms", "serving_ms", "first_effect_ms")
"""Of a switch, since the suspicion (`keepline failovers`)."""

Logs = Mapping[str, Sequence[AnyFact]]
"""By shard."""


@dataclass(frozen=True)
class Strike:
    """A fault that was done. Moments are ms of the monotonic clock."""

    mark: str
    """Its name in the phones' logs."""
    at_ms: float
    still_ms: float
    """From here on nothing of the old can answer."""
    victim: str
    """The node that was hit as an active; "" if none was."""
    moving: tuple[str, ...]
    """The shards it led, which must get a new active."""


@dataclass
class Run:
    """One run."""

    number: int
    strikes: list[Strike]
    verdict: Verdict
    answer_ms: list[int]
    """For each shard that had to move: from the strike to the first answer of its new active."""
    silence_ms: list[int]
    """For each shard that had to move, or for all if none had: the longest time without answer."""
    bystanders_ms: list[int]
    """For each of the other shards: likewise."""
    states: dict[str, Cell]
    committed_lost: list[str]
    switches: list[dict[str, Any]]
    takes_audio: bool
    problems: list[str]
    logs: str = ""
    """Where the logs are, when they were kept."""

    @property
    def is_ok(self) -> bool:
        return not (self.problems or self.committed_lost or self.lost) and self.verdict.ok

    @property
    def lost(self) -> int:
        """Callers' calls that were lost, each counted once."""
        return self.verdict.lost_calls

    @property
    def moved_needlessly(self) -> int:
        """Switches beyond those that the fault called for."""
        return max(0, len(self.switches) - sum(len(strike.moving) for strike in self.strikes))

    @property
    def gap_ms(self) -> int:
        """The largest gap that a talker heard after a strike."""
        return max((gaps.talkers_after_ms for gaps in self.verdict.gaps), default=0)


def seen(
    number: int,
    strikes: Sequence[Strike],
    logs: Logs,
    *,
    switches: list[dict[str, Any]],
    takes_audio: bool,
    problems: Iterable[str],
) -> Run:
    """The figures of a run. `problems` are those found before."""
    log = [fact for one in logs.values() for fact in one]
    verdict = judge(log)
    found = list(problems)
    answers: list[int] = []
    silences: list[int] = []
    bystanders: list[int] = []
    states: list[dict[str, Cell]] = []
    for strike in strikes:
        for shard in logs:
            probes = asked(logs[shard])
            answer_ms = first_answer_ms(probes, strike.still_ms)
            silent_ms = silence_ms(probes, strike.at_ms, strike.at_ms + FAULT_MS)
            if answer_ms is None or silent_ms is None:
                found.append(f"{shard} gave no answer within {FAULT_MS} ms of the {strike.mark}")
                continue
            if strike.moving and shard not in strike.moving:
                bystanders.append(round(silent_ms))
                continue
            if strike.moving:
                answers.append(round(answer_ms - strike.at_ms))
            silences.append(round(silent_ms))
            of_all = fates(
                logs[shard], verdict, strike.mark, answered_ms=answer_ms, wrap_up_ms=WRAP_UP_MS
            )
            states.append(cells(of_all))
    if verdict.missing and not takes_audio:
        found.append(f"{verdict.missing} RTP packets are missing")
    return Run(
        number=number,
        strikes=list(strikes),
        verdict=verdict,
        answer_ms=answers,
        silence_ms=silences,
        bystanders_ms=bystanders,
        states=merged(states),
        committed_lost=broken(log, verdict.lost),
        switches=switches,
        takes_audio=takes_audio,
        problems=found,
    )


@dataclass
class Said:
    """What the nodes' own logs say of a cluster's life."""

    two_actives: list[str]
    """Epochs of a shard that were led more than once."""
    nodes_ended: int
    """How often a node was ended by another one, because it did not let go of an address."""


def said(logs: Mapping[str, Iterable[str]]) -> Said:
    """By the lines of each log."""
    led: dict[tuple[str, int], list[str]] = {}
    ended = 0
    for name, lines in logs.items():
        for line in lines:
            ended += '"event": "ending a silent process"' in line
            if '"event": "elected"' in line:
                fields = msgspec.json.decode(line)
                led.setdefault((fields["shard"], fields["epoch"]), []).append(name)
    twice = [
        f"epoch {epoch} of {shard} was led by {' and '.join(names)}"
        for (shard, epoch), names in sorted(led.items())
        if len(names) > 1
    ]
    return Said(twice, ended)


@dataclass
class Tally:
    """All runs under one fault."""

    fault: str
    says: str
    runs: list[Run] = field(default_factory=list)
    two_actives: list[str] = field(default_factory=list)
    nodes_ended: int = 0
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Nothing was lost in any run."""
        return bool(self.runs) and all(run.is_ok for run in self.runs) and not self.two_actives

    @property
    def answer_ms(self) -> Spread:
        return spread(ms for run in self.runs for ms in run.answer_ms)

    @property
    def silence_ms(self) -> Spread:
        return spread(ms for run in self.runs for ms in run.silence_ms)

    @property
    def states(self) -> dict[str, Cell]:
        return merged(run.states for run in self.runs)

    def document(self) -> dict[str, Any]:
        """As JSON: an interface, names stay."""
        verdicts = [run.verdict for run in self.runs]
        rows = [row for run in self.runs for row in run.switches]
        return {
            "fault": self.fault,
            "says": self.says,
            "ok": self.is_ok,
            "runs": len(self.runs),
            "answer_ms": times(run.answer_ms for run in self.runs),
            "silence_ms": times(run.silence_ms for run in self.runs),
            "bystanders_ms": times(run.bystanders_ms for run in self.runs),
            "calls": sum(verdict.offered for verdict in verdicts),
            "lost": sum(verdict.lost_calls for verdict in verdicts),
            "doubled": sum(len(verdict.doubled) for verdict in verdicts),
            "order_kept": all(verdict.order_kept is not False for verdict in verdicts),
            "rtp_missing": sum(verdict.missing for verdict in verdicts),
            "committed_lost": [line for run in self.runs for line in run.committed_lost],
            "two_actives": self.two_actives,
            "nodes_ended": self.nodes_ended,
            "moved_needlessly": sum(run.moved_needlessly for run in self.runs),
            "largest_gap_ms": max((run.gap_ms for run in self.runs), default=0),
            "phones_late_ms": max((verdict.own_late_ms for verdict in verdicts), default=0),
            "states": {state: msgspec.to_builtins(cell) for state, cell in self.states.items()},
            "switch_ms": {
                moment: times([[row[moment]] for row in rows if row.get(moment) is not None])
                for moment in MOMENTS
            },
            "problems": [
                f"run {run.number}: {what}" for run in self.runs for what in findings(run)
            ],
            "run_list": [document_of(run) for run in self.runs],
            "seconds": round(self.seconds, 1),
        }


def findings(run: Run) -> list[str]:
    """Everything about a run that must not be, a line each."""
    verdict = run.verdict
    return [
        *run.problems,
        *(f"lost: {x.who} {x.reason} {x.detail}".rstrip() for x in verdict.lost),
        *(f"doubled: {x.who} {x.reason} {x.detail}".rstrip() for x in verdict.doubled),
        *(f"overtaken: {x.who} by {x.by} for {x.ms} ms" for x in verdict.overtaken),
        *(f"committed and lost: {line}" for line in run.committed_lost),
    ]


def document_of(run: Run) -> dict[str, Any]:
    """One run as JSON."""
    return {
        "run": run.number,
        "ok": run.is_ok,
        "nodes": [strike.victim for strike in run.strikes],
        "answer_ms": run.answer_ms,
        "silence_ms": run.silence_ms,
        "bystanders_ms": run.bystanders_ms,
        "calls": run.verdict.offered,
        "lost": run.lost,
        "largest_gap_ms": run.gap_ms,
        "switches": run.switches,
        "logs": run.logs,
    }


def times(many: Iterable[Iterable[int]]) -> dict[str, Any]:
    """All times, with their median and the largest."""
    every = [ms for some in many for ms in some]
    found = spread(every)
    return {"p50": found.p50_ms, "max": found.max_ms, "all": every}
