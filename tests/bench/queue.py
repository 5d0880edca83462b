"""Rows measured with SIPp's built-in caller and agent, neither of which sends RTP."""

import contextlib
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cluster import PORT_OF_AGENTS, Processes, idle_cpu, measured, percentile, say
from tests.e2e.cluster import Cluster, until

AGENTS = 400
TALK_MS = 1_000
"""How long callers stay after they were answered; by then an agent has answered too."""
P99_MS = 500
RATE_OF_COST = 100
"""Calls a second at which the cost of one is measured: half of what the design wants to hold."""


@dataclass
class Run:
    """What SIPp's callers saw, and what the cluster says became of the calls."""

    rate: int
    calls: int
    failed: int
    retransmitted: int
    answer_ms: list[float]
    answered: int
    seconds: float
    done: int

    @property
    def p99_ms(self) -> float:
        return percentile(self.answer_ms, 0.99) if self.answer_ms else float("inf")

    @property
    def is_clean(self) -> bool:
        """Every call answered by the centre and by an agent, in time, at the rate asked for."""
        return (
            self.failed == 0
            and self.done == self.calls
            and self.answered == self.calls
            and self.p99_ms < P99_MS
        )


def queue_cpu(*, quick: bool) -> dict[str, Any]:
    """CPU milliseconds of all processes for a call through a queue."""
    seconds, rounds = (8, 1) if quick else (15, 3)
    found: list[dict[str, float]] = []
    with measured(nodes=2, agents=AGENTS) as (cluster, host), agents_of(host, cluster.data):
        warm(cluster, host)
        processes = Processes(cluster)
        idle = idle_cpu(processes)
        for _ in range(rounds):
            before = processes.cpu_s()
            began = time.monotonic()
            run = call(cluster, host, RATE_OF_COST, RATE_OF_COST * seconds)
            drained(cluster)
            took = time.monotonic() - began
            assert run.is_clean, run
            found.append(
                {
                    role: (spent - before[role] - idle[role] * took) / run.calls * 1_000
                    for role, spent in processes.cpu_s().items()
                }
            )
            say(f"cpu per call at {RATE_OF_COST}/s: {shown(found[-1])}")
        active, _ = cluster.active()
    totals = [sum(part.values()) for part in found]
    parts = {
        ("active" if role == active else "standby" if role.startswith("n") else role): round(
            statistics.median([part[role] for part in found]), 2
        )
        for role in found[0]
    }
    return {
        "ms": round(statistics.median(totals), 2),
        "ms_by_process": parts,
        "rate": RATE_OF_COST,
        "calls": RATE_OF_COST * seconds * rounds,
        "idle_cores": round(sum(idle.values()), 3),
    }


def queue_rate(*, quick: bool) -> dict[str, Any]:
    """The highest rate of calls through a queue at which none fails or waits long."""
    seconds = 6 if quick else 15
    steps = (100, 150, 200, 250) if quick else (100, 150, 175, 200, 225, 250, 275, 300, 350, 400)
    runs: list[Run] = []
    with measured(nodes=2, agents=AGENTS) as (cluster, host), agents_of(host, cluster.data):
        warm(cluster, host)
        for rate in steps:
            run = call(cluster, host, rate, rate * seconds)
            if not run.is_clean:  # once more: another's burst on this machine is not our limit
                drained(cluster)
                run = call(cluster, host, rate, rate * seconds)
            runs.append(run)
            say(f"{rate}/s: {'clean' if run.is_clean else 'not clean'}, p99 {run.p99_ms:.0f} ms")
            if not run.is_clean:
                break
            drained(cluster)
    clean = [run for run in runs if run.is_clean]
    best = clean[-1] if clean else None
    return {
        "calls_per_s": best.rate if best else 0,
        "p99_ms": round(best.p99_ms, 1) if best else None,
        "tried": [
            {
                "rate": run.rate,
                "clean": run.is_clean,
                "p50_ms": round(percentile(run.answer_ms, 0.5), 1) if run.answer_ms else None,
                "p99_ms": round(run.p99_ms, 1) if run.answer_ms else None,
                "failed": run.failed,
                "retransmitted": run.retransmitted,
            }
            for run in runs
        ],
        "seconds_each": seconds,
    }


def warm(cluster: Cluster, host: str) -> None:
    """The first calls find nothing cached."""
    say("cluster is up; warming")
    assert call(cluster, host, 50, 200).failed == 0
    drained(cluster)


def drained(cluster: Cluster) -> None:
    """Wait until every call has ended and is in the database."""
    until("no call is left", lambda: cluster.shard()["calls"] == 0, 30)


def shown(parts: dict[str, float]) -> str:
    return " ".join(f"{role} {ms:.2f}" for role, ms in parts.items()) + (
        f" = {sum(parts.values()):.2f} ms"
    )


# -- SIPp ------------------------------------------------------------------------------------------


def sipp() -> str:
    found = shutil.which("sipp")
    assert found, "sipp is missing: apt-get install sip-tester"
    return found


@contextlib.contextmanager
def agents_of(host: str, folder: Path) -> Iterator[None]:
    """`sipp -sn uas` is the phone of every agent."""
    process = subprocess.Popen(
        [sipp(), "-sn", "uas", "-i", host, "-p", str(PORT_OF_AGENTS), "-nostdin", *BUFFERS],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()


BUFFERS = ("-buff_size", "8388608")


def call(cluster: Cluster, host: str, rate: int, calls: int) -> Run:
    """`sipp -sn uac` calls at this rate."""
    folder = cluster.data
    before = cluster.shard()["ledger"]
    for old in folder.glob("uac_*"):
        old.unlink()
    began = time.monotonic()
    subprocess.run(
        [
            sipp(), "-sn", "uac", "-s", "4001", f"{host}:5060", "-i", host, "-p", "7100",
            "-r", str(rate), "-m", str(calls), "-d", str(TALK_MS), "-l", "5000", "-nostdin",
            "-trace_stat", "-fd", "1", "-trace_rtt", "-rtt_freq", "200", *BUFFERS,
            "-timeout", str(calls // rate + 40),
        ],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    (stats,) = folder.glob("uac_*_.csv")
    rows = [line.split(";") for line in stats.read_text().splitlines()]
    last = dict(zip(rows[0], rows[-1], strict=False))
    answer_ms = [
        float(cells[1])
        for file in folder.glob("uac_*_rtt.csv")
        for cells in map(split_cells, file.read_text().splitlines()[1:])
        if len(cells) > 1
    ]

    def after() -> int:
        ledger = cluster.shard()["ledger"]
        return int(ledger["answered"]) - int(before["answered"])

    with contextlib.suppress(AssertionError):
        until("all were answered", lambda: after() >= calls, 5)
    return Run(
        rate=rate,
        calls=calls,
        failed=int(last["FailedCall(C)"]),
        retransmitted=int(last["Retransmissions(C)"]),
        answer_ms=answer_ms,
        answered=after(),
        seconds=took,
        done=int(last["SuccessfulCall(C)"]),
    )


def split_cells(line: str) -> Sequence[str]:
    return line.split(";")
