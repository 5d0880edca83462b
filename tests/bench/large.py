"""A shard of 10,000 waiting callers: a joiner, a takeover, and the longest turn of any node's loop.

And what 1,000 changes of state a second cost the active, with a journal.
"""

import json
import os
import signal
import socket
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.io.journal import TAILS
from tests.bench.cluster import cpu_s, measured, percentile, say
from tests.bench.phones import Call, Phones
from tests.bench.takeover import Fault, has_moved
from tests.bench.waiting import fill
from tests.cluster.processes import Processes
from tests.e2e.cluster import Cluster, until

WAITING = 10_000
EVERY_S = 0.01
PER_S = 1_000
CHANGES_S = 10.0
TURNS = Path(__file__).parent / "turns"


def large(*, quick: bool) -> dict[str, dict[str, Any]]:
    """`joiner`, `large_takeover` and `turn`."""
    count = 1_000 if quick else WAITING
    joined: list[float] = []
    answered: list[float] = []
    silent: list[float] = []
    with tempfile.TemporaryDirectory(prefix="keepline-turns-") as folder:
        turns = Path(folder) / "turns"
        os.environ |= {"KEEPLINE_TURNS": str(turns), "PYTHONPATH": str(TURNS)}
        try:
            with measured(nodes=2, agents=0) as (cluster, host), Phones(host) as phones:
                fill(phones, count)
                for _ in range(2 if quick else 5):
                    joins, answers = join(cluster, phones)
                    joined.append(joins)
                    answered += answers
                    say(f"joined in {joins:.0f} ms, longest answer {max(answers):.0f} ms")
                name, pid = cluster.active()
                tell_turns(cluster)
                silent.append(Fault(phones, pid, signal.SIGKILL).measure())
                say(f"silent for {silent[-1]:.0f} ms")
                until("another is active", lambda: has_moved(cluster, name), 30)
                cluster.ask("status", "--wait", "ready", "--timeout", "60s")
                assert cluster.shard()["waiting"] == count
                tell_turns(cluster)
                phones.check()
            told = [json.loads(line) for line in turns.read_text().splitlines()]
        finally:
            del os.environ["KEEPLINE_TURNS"], os.environ["PYTHONPATH"]
    worst = max(told, key=lambda turn: float(turn["ms"]))
    return {
        "joiner": {
            "ms": round(max(joined), 1),
            "runs_ms": [round(ms, 1) for ms in joined],
            "answer_p99_ms": round(percentile(answered, 0.99), 1),
            "answer_max_ms": round(max(answered), 1),
            "waiting": count,
        },
        "large_takeover": {"ms": round(max(silent), 1), "waiting": count},
        "turn": {"ms": round(float(worst["ms"]), 1), "what": worst["what"], "waiting": count},
    }


def tell_turns(cluster: Cluster) -> None:
    """Every node says how long its longest turn was so far."""
    for node in cluster.ask("status")["nodes"]:
        if node["alive"]:
            os.kill(node["pid"], signal.SIGUSR2)


def join(cluster: Cluster, phones: Phones) -> tuple[float, list[float]]:
    """The standby is killed and comes back: ms until it is in sync, and of answers meanwhile."""
    cluster.ask("status", "--wait", "ready", "--timeout", "60s")
    time.sleep(1.5)  # the last node's own start is not part of the next
    name, pid = cluster.standby()
    before = processes(cluster)
    probes = Probes(phones)
    os.kill(pid, signal.SIGKILL)
    fresh = until("it is back", lambda: processes(cluster) - before, 20)
    phones.do(probes.go)
    began = time.monotonic()
    (member,) = (key.removeprefix("process/") for key in fresh)
    while not any(one.startswith(member) for one in in_sync(cluster)):
        assert time.monotonic() < began + 20, f"{name} does not join"
        time.sleep(0.002)
    took = (time.monotonic() - began) * 1_000
    probes.is_over = True
    until("the last probe has its answer", lambda: len(probes.took) == len(probes.sent), 10)
    return took, probes.took


class Probes:
    """A fresh OPTIONS inside another caller's dialog every 10 ms."""

    def __init__(self, phones: Phones) -> None:
        self._phones = phones
        self._calls = [call for call in list(phones.calls.values()) if call.answer is not None]
        self.sent: dict[bytes, float] = {}
        self.took: list[float] = []
        self.is_over = False

    def go(self) -> None:
        self._phones.on_probe = self._on_probe
        self._probe()

    def _probe(self) -> None:
        if self.is_over:
            return
        call: Call = self._calls[len(self.sent) % len(self._calls)]
        self.sent[call.id] = time.monotonic()
        self._phones.probe(call)
        self._phones.later(EVERY_S, self._probe)

    def _on_probe(self, id: bytes, status: int, now: float) -> None:
        self.took.append((now - self.sent[id]) * 1_000)


def rows(cluster: Cluster, prefix: str) -> dict[str, bytes]:
    with sqlite3.connect(cluster.data / "store.db") as db:
        found = db.execute("select key, value from kv where key like ?", (f"{prefix}%",))
        return dict(found.fetchall())


def processes(cluster: Cluster) -> set[str]:
    return set(rows(cluster, "process/"))


def in_sync(cluster: Cluster) -> list[str]:
    (value,) = rows(cluster, "shard/main").values()
    members: list[str] = json.loads(value)["in_sync"]
    return members


# -- changes ---------------------------------------------------------------------------------------


def changes(*, quick: bool) -> dict[str, Any]:
    """CPU of an active whose shard of 10,000 records changes 1,000 times a second."""
    found = {}
    for journal in ("off", "async", "sync"):
        with (
            tempfile.TemporaryDirectory(prefix="keepline-bench-") as folder,
            tempfile.TemporaryDirectory(prefix="keepline-bench-", dir=TAILS) as tails,
        ):
            os.environ["KEEPLINE_TAILS"] = tails
            found[journal] = _changes(Path(folder), journal, 3.0 if quick else CHANGES_S)
            del os.environ["KEEPLINE_TAILS"]
        say(f"journal {journal}: {found[journal]}")
    return {
        "percent_of_a_core": found["async"]["percent"],
        "by_journal": found,
        "changes_per_s": PER_S,
        "records": WAITING,
    }


def _changes(folder: Path, journal: str, seconds: float) -> dict[str, float]:
    with Processes(folder, journal=journal) as toys:
        name, _ = toys.in_sync("shard0", 3)
        for n in range(0, WAITING, 200):
            toys.ask("shard0", f"fill{n}", fill=200, size=570, first=n)
        time.sleep(2.5)  # what filling brought about is not part of it
        active, standby = toys.running[name].pid, _other(toys, name)
        before = cpu_s(active), cpu_s(standby)
        took, waits = _post(toys, seconds)
        after = cpu_s(active), cpu_s(standby)
    return {
        "percent": round(100 * (after[0] - before[0]) / took, 1),
        "standby_percent": round(100 * (after[1] - before[1]) / took, 1),
        "commit_p50_ms": round(statistics.median(waits), 1),
        "commit_p99_ms": round(percentile(waits, 0.99), 1),
    }


def _other(toys: Processes, name: str) -> int:
    return next(process.pid for other, process in toys.running.items() if other != name)


def _post(toys: Processes, seconds: float) -> tuple[float, list[float]]:
    """1,000 operations a second, each on another record; ms until each was acknowledged."""
    sent: dict[str, float] = {}
    waits: list[float] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    address = ("127.0.0.1", toys.ports["shard0"])

    def read() -> int:
        while True:
            try:
                op = json.loads(sock.recv(65_536))["op"]
            except BlockingIOError:
                return len(waits)
            waits.append((time.monotonic() - sent[op]) * 1_000)

    began = time.monotonic()
    n = 0
    with sock:
        while (now := time.monotonic()) < began + seconds:
            while n < (now - began) * PER_S:
                op = f"bench{n}"
                sent[op] = time.monotonic()
                sock.sendto(
                    json.dumps({"key": f"call/{n % WAITING:06}", "op": op}).encode(), address
                )
                n += 1
            read()
            time.sleep(0.001)
        took = time.monotonic() - began
        until("every change is acknowledged", lambda: read() == n, 20)
    return took, waits
