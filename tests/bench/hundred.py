"""A hundred shards on three nodes: one node joins, one is killed. Toy shards on real processes.

Somebody asks every shard all the time, over UDP, and repeats what was not answered after T1, as a
SIP phone does. What was acknowledged is counted at the end by what the shards themselves hold.
"""

import collections
import itertools
import json
import math
import select
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from node.run import NICE
from tests.bench.cluster import percentile, say
from tests.cluster.processes import Processes
from tests.e2e.cluster import until

SHARDS = 100
NODES = 3
COPIES = 3
EVERY_S = 0.2
"""Each shard is asked so often: all of them 500 times a second."""
PROBE_S = 0.05
"""Those for whose first answer after a fault is waited: so often."""
T1_S = 0.5
STEADY_MS = 2_000
SETTLED_S = 60.0
JOINED_S = 180.0
QUIET_S = 2.0


def join(*, quick: bool) -> dict[str, Any]:
    """A fourth node comes: how long until it has its share, and what those who ask notice."""
    with cluster() as toys, Askers(toys) as askers:
        toys.settled(dict.fromkeys("abc", SHARDS), None)
        until("what was asked while they started is answered", lambda: not askers.behind())
        askers.waits()
        askers.repeated = 0
        time.sleep(QUIET_S)  # a measuring time
        usual = askers.waits()
        began = time.monotonic()
        toys.join("d")
        share = SHARDS * COPIES // (NODES + 1)
        missed = 0
        try:
            toys.settled(dict.fromkeys("abcd", share), SHARDS // (NODES + 1))
        except AssertionError as error:
            say(str(error)[:500])
            missed = 1
        took = time.monotonic() - began
        waits = askers.waits()
        asked, lost, doubled = askers.settle()
    return {
        "lost": lost,
        "doubled": doubled,
        "share_missed": missed,
        "took_s": round(took, 1),
        "asked": asked,
        "repeated": askers.repeated,
        "usual_p50_ms": round(statistics.median(usual), 1),
        "usual_max_ms": round(max(usual), 1),
        "p50_ms": round(statistics.median(waits), 1),
        "p99_ms": round(percentile(waits, 0.99), 1),
        "max_ms": round(max(waits), 1),
        "shards": SHARDS,
    }


def killed(*, quick: bool) -> dict[str, Any]:
    """kill -9 of a node: ms until every one of its shards has answered again."""
    found: list[float] = []
    each: list[float] = []
    with cluster() as toys, Askers(toys) as askers:
        for run in range(3 if quick else 9):
            toys.settled(dict.fromkeys("abc", SHARDS), None)
            time.sleep(QUIET_S)  # the restarted node's own start is no part of the next fault
            victim = "abc"[run % 3]
            led = [shard for shard, node in toys.actives().items() if node == victim]
            silent = askers.after(led, lambda victim=victim: toys.kill(victim))
            each += silent
            found.append(max(silent))
            say(f"{len(led)} shards of {victim} answer again after {found[-1]:.0f} ms")
            toys.start(victim)
        _, lost, doubled = askers.settle()
    return {
        "max_ms": round(max(found), 1),
        "p50_ms": round(statistics.median(found), 1),
        "shard_p50_ms": round(statistics.median(each), 1),
        "runs_ms": [round(ms, 1) for ms in found],
        "lost": lost,
        "doubled": doubled,
        "shards": SHARDS,
    }


class Toys(Processes):
    """Processes, and where their shards are by the store."""

    def keys(self) -> dict[str, dict[str, Any]]:
        try:
            with closing(sqlite3.connect(f"file:{self.folder}/store.db?mode=ro", uri=True)) as db:
                rows = db.execute("select key, value from kv where key like 'shard/%'").fetchall()
        except sqlite3.OperationalError:  # it is not there yet
            return {}
        return {key.removeprefix("shard/"): json.loads(value) for key, value in rows}

    def actives(self) -> dict[str, str]:
        return {shard: key["active"].partition(":")[0] for shard, key in self.keys().items()}

    def settled(self, copies: dict[str, int], led: int | None) -> None:
        """Wait until each node holds so many copies, and leads so many shards."""
        end = time.monotonic() + (JOINED_S if led else SETTLED_S)
        while True:
            keys = self.keys().values()
            held = collections.Counter(m.partition(":")[0] for k in keys for m in k["in_sync"])
            leads = collections.Counter(key["active"].partition(":")[0] for key in keys)
            if held == copies and (led is None or set(leads.values()) == {led}):
                return
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} has ended: {process.returncode}"
            assert time.monotonic() < end, (held, leads)
            time.sleep(0.1)


class cluster:  # noqa: N801 - it reads as what it gives
    """Three toy nodes with a hundred shards, in a folder of their own."""

    def __enter__(self) -> Toys:
        self._folder = tempfile.TemporaryDirectory(prefix="keepline-bench-")
        self._toys = Toys(
            Path(self._folder.name),
            nodes=NODES,
            shards=SHARDS,
            preferred=False,
            steady_ms=STEADY_MS,
            nice=NICE,
        )
        self._toys.__enter__()
        return self._toys

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._toys.__exit__(kind, error, trace)
        self._folder.cleanup()


@dataclass(slots=True)
class Asked:
    """An operation that has not been acknowledged."""

    shard: str
    op: str
    first: float
    sent: float


@dataclass(slots=True)
class Watch:
    """Until each of these shards has acknowledged what was asked after a moment."""

    shards: dict[str, float | None]
    since: float = math.inf
    done: threading.Event = field(default_factory=threading.Event)


class Askers:
    """Somebody at every shard; in a thread of their own."""

    def __init__(self, toys: Processes) -> None:
        self.repeated = 0
        self._toys = toys
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._n = itertools.count(1)
        self._pending: dict[str, Asked] = {}
        self._due = dict.fromkeys(toys.ports, 0.0)
        self._count = dict.fromkeys(toys.ports, 0)
        self._waits: list[float] = []
        self._values: dict[str, int] = {}
        self._watch: Watch | None = None
        self._asking = True
        self._running = True
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="askers", daemon=True)

    def __enter__(self) -> "Askers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self._sock.close()
        if self._failure is not None:
            raise AssertionError("the askers' thread ended") from self._failure

    def behind(self) -> int:
        """Operations that have been waiting for T1."""
        before = time.monotonic() - T1_S
        return sum(asked.first < before for asked in list(self._pending.values()))

    def waits(self) -> list[float]:
        """What each answered operation waited, in ms, since this was asked last."""
        waits, self._waits = self._waits, []
        return waits

    def after(self, shards: list[str], strike: Any) -> list[float]:
        """Strike; ms until each of these shards acknowledges what was asked after that."""
        watch = self._watch = Watch(dict.fromkeys(shards))
        began = watch.since = strike() / 1000
        assert watch.done.wait(30), {s: at for s, at in watch.shards.items() if at is None}
        self._watch = None
        return [(at - began) * 1_000 for at in watch.shards.values() if at is not None]

    def settle(self) -> tuple[int, int, int]:
        """Ask no more: how many were asked, how many never acknowledged, how many done twice."""
        self._asking = False
        end = time.monotonic() + 10
        while self._pending and time.monotonic() < end:
            time.sleep(0.05)
        lost = len(self._pending)
        doubled = 0
        for shard, count in self._count.items():
            # Each operation adds one: what a shard holds now is how many it ever carried out.
            held = self._toys.ask(shard, f"last-{shard}", again_s=T1_S)["value"] - 1
            doubled += max(0, held - count)
            lost += max(0, count - held)
        return sum(self._count.values()), lost, doubled

    def _run(self) -> None:
        try:
            while self._running:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary; `__exit__` raises it
            self._failure = error

    def _turn(self) -> None:
        select.select([self._sock], [], [], 0.002)
        while True:
            try:
                data = self._sock.recv(65_536)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue
            self._answered(json.loads(data), time.monotonic())
        now = time.monotonic()
        for shard, due in self._due.items():
            if self._asking and due <= now:
                is_watched = self._watch is not None and shard in self._watch.shards
                self._due[shard] = now + (PROBE_S if is_watched else EVERY_S)
                op = f"op{next(self._n)}"
                self._pending[op] = Asked(shard, op, now, 0.0)
                self._count[shard] += 1
        for asked in self._pending.values():
            if now - asked.sent >= T1_S:
                self.repeated += asked.sent > 0
                asked.sent = now
                self._send(asked)

    def _send(self, asked: Asked) -> None:
        data = json.dumps({"key": "k", "op": asked.op}).encode()
        try:
            self._sock.sendto(data, ("127.0.0.1", self._toys.ports[asked.shard]))
        except (BlockingIOError, ConnectionRefusedError):
            asked.sent -= T1_S - 0.05  # again soon

    def _answered(self, answer: dict[str, Any], now: float) -> None:
        asked = self._pending.pop(answer["op"], None)
        if asked is None:
            return
        self._waits.append((now - asked.first) * 1_000)
        watch = self._watch
        if watch is not None and asked.first > watch.since and asked.shard in watch.shards:
            if watch.shards[asked.shard] is None:
                watch.shards[asked.shard] = now
            if all(at is not None for at in watch.shards.values()):
                watch.done.set()
