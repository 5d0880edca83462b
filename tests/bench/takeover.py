"""How long a shard is silent when its active dies or hangs, seen from a phone's dialog.

A fresh OPTIONS inside a dialog leaves every 10 ms, each in another dialog; the first answer to one
that was sent after the old process had ended, or stood still, came from the new active.
"""

import contextlib
import os
import select
import signal
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.cluster import measured, say
from tests.bench.phones import Call, Phones
from tests.bench.waiting import fill
from tests.e2e.cluster import Cluster, until

CALLS = 1_000
AGENTS = 400
EVERY_S = 0.01
ANSWER_S = 10.0
NODES = 3


def kill(*, quick: bool) -> dict[str, Any]:
    """kill -9 of the active."""
    return silences(signal.SIGKILL, 3 if quick else 10)


def hang(*, quick: bool) -> dict[str, Any]:
    """SIGSTOP of the active."""
    return silences(signal.SIGSTOP, 3 if quick else 6)


def silences(number: signal.Signals, runs: int) -> dict[str, Any]:
    """Milliseconds from the signal to the first in-dialog answer from the new active."""
    found: list[float] = []
    with measured(nodes=NODES, agents=AGENTS) as (cluster, host), Phones(host) as phones:
        fill(phones, CALLS, rate=80)
        until("agents talk", lambda: phones.talking == AGENTS, 30)
        for _ in range(runs):
            cluster.ask("status", "--wait", "ready", "--timeout", "60s")
            time.sleep(1.5)  # the restarted node's own start is not part of the next fault
            name, pid = cluster.active()
            found.append(Fault(phones, pid, number).measure())
            say(f"{number.name} of {name}: {found[-1]:.0f} ms")
            phones.check()
            until("another is active", partial(has_moved, cluster, name))
        kept = cluster.shard()["calls"]
        assert not phones.lost, f"{len(phones.lost)} requests had no answer"
    return {
        "p50_ms": round(statistics.median(found), 1),
        "max_ms": round(max(found), 1),
        "runs_ms": [round(ms, 1) for ms in found],
        "calls": CALLS,
        "calls_after": kept,
        "nodes": NODES,
    }


def has_moved(cluster: Cluster, old: str) -> bool:
    """Does another node than `old` lead the shard?"""
    return bool(cluster.shard()["active"] != old)


class Fault:
    """One signal to one process, and the probes around it."""

    def __init__(self, phones: Phones, pid: int, number: signal.Signals) -> None:
        self._phones = phones
        self._pid = pid
        self._number = number
        self._calls = [call for call in list(phones.calls.values()) if call.answer is not None]
        self._sent: dict[bytes, float] = {}
        self._began = 0.0
        self._still = 0.0
        self._answered = 0.0
        self._next = 0

    def measure(self) -> float:
        handle = os.pidfd_open(self._pid)
        try:
            self._phones.on_probe = self._on_probe
            self._phones.do(self._go)
            self._wait_still(handle)
            until("an answer", lambda: self._answered, ANSWER_S)
        finally:
            os.close(handle)
            self._answered = self._answered or -1.0
        return (self._answered - self._began) * 1_000

    def _go(self) -> None:
        self._began = time.monotonic()
        os.kill(self._pid, self._number)
        self._probe()

    def _wait_still(self, handle: int) -> None:
        """Until the process has ended, or is seen to be stopped."""
        if self._number == signal.SIGKILL:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            while not self._began or not poll.poll(50):
                pass
        else:
            while not self._began or not is_stopped(self._pid):
                time.sleep(0.000_5)
        self._still = time.monotonic()

    def _probe(self) -> None:
        if self._answered:
            return
        call: Call = self._calls[self._next % len(self._calls)]
        self._next += 1
        self._sent[call.id] = time.monotonic()
        self._phones.probe(call)
        self._phones.later(EVERY_S, self._probe)

    def _on_probe(self, id: bytes, status: int, now: float) -> None:
        sent = self._sent.get(id)
        if sent is None or self._answered or not self._still or sent < self._still:
            return
        assert status == 200, status
        self._answered = now


def is_stopped(pid: int) -> bool:
    """Does every thread of it stand still?"""
    with contextlib.suppress(OSError):
        return all(
            (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
            for thread in Path(f"/proc/{pid}/task").iterdir()
        )
    return True
