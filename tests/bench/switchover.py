"""How long who asks just then waits when a shard is handed over, by order, with 1,000 live calls.

Every few milliseconds a fresh OPTIONS leaves inside another caller's dialog, and now and then a new
caller's INVITE; each waits for its first answer and is sent once. The wait that counts is the
longest of those around the moment: what came while nobody stepped was kept, and nobody repeats
anything. A repeat would come 500 ms later, so a wait beyond that means something was lost.
"""

import asyncio
import statistics
import time
from typing import Any

from node.api import ApiClient
from node.ask import Cluster as Asked
from tests.bench.cluster import measured, percentile, say
from tests.bench.phones import Call, Phones
from tests.bench.waiting import fill
from tests.e2e.cluster import Cluster, until

CALLS = 1_000
AGENTS = 400
EVERY_S = 0.005
CALLERS_EVERY = 4
"""Of so many probes one is a new caller."""
BEFORE_S = 0.3
AFTER_S = 0.5
ANSWER_S = 10.0
REPEAT_MS = 500
"""T1: whoever waits so long asks again (RFC 3261 §17.1.1.1)."""
NODES = 3


def switchover(*, quick: bool) -> dict[str, Any]:
    """Milliseconds that the unluckiest request of each switchover waited for its first answer."""
    runs = 5 if quick else 20
    longest: list[float] = []
    callers: list[float] = []
    usual: list[float] = []
    orders: list[float] = []
    with measured(nodes=NODES, agents=AGENTS) as (cluster, host), Phones(host) as phones:
        fill(phones, CALLS, rate=80)
        until("agents talk", lambda: phones.talking == AGENTS, 30)
        for _ in range(runs):
            cluster.ask("status", "--wait", "ready", "--timeout", "60s")
            run = Switchover(cluster, phones)
            run.measure()
            longest.append(max(run.around()))
            callers.append(max(run.around(callers=True), default=0.0))
            usual.append(run.usual())
            orders.append(run.order_ms)
            say(f"waited {longest[-1]:.1f} ms, the order took {orders[-1]:.1f} ms")
            phones.check()
        calls = cluster.shard()["calls"]
        assert not phones.lost, f"{len(phones.lost)} requests had no answer"
    return {
        "p50_ms": round(statistics.median(longest), 1),
        "max_ms": round(max(longest), 1),
        "p90_ms": round(percentile(longest, 0.9), 1),
        "callers_p50_ms": round(statistics.median(callers), 1),
        "usual_ms": round(statistics.median(usual), 1),
        "order_p50_ms": round(statistics.median(orders), 1),
        "repeated": sum(ms >= REPEAT_MS for ms in longest),
        "runs_ms": [round(ms, 1) for ms in longest],
        "calls": CALLS,
        "calls_after": calls,
        "nodes": NODES,
    }


class Switchover:
    """One hand-over and the probes around it."""

    def __init__(self, cluster: Cluster, phones: Phones) -> None:
        self._cluster = cluster
        self._phones = phones
        self._calls = [call for call in list(phones.calls.values()) if call.answer is not None]
        self._sent: dict[bytes, tuple[float, bool]] = {}
        self._took: list[tuple[float, float, bool]] = []
        """When each was sent and answered, and whether it was a new caller's."""
        self._next = 0
        self._asking = True
        self._ordered = (0.0, 0.0)

    def measure(self) -> None:
        phones = self._phones
        phones.on_probe = self._on_probe
        phones.on_trying = self._on_answer
        phones.do(self._probe)
        time.sleep(BEFORE_S)  # a measuring time, not a wait for a result
        asyncio.run(self._order())
        time.sleep(AFTER_S)  # likewise
        self._asking = False
        until("every probe was answered", lambda: not self._sent, ANSWER_S)

    async def _order(self) -> None:
        client = ApiClient()
        try:
            asked = Asked(client, self._cluster.data, None)
            await asked.status()  # the connections stand
            began = time.monotonic()
            await asked.switchover("main", "")
            self._ordered = (began, time.monotonic())
        finally:
            await client.close()

    @property
    def order_ms(self) -> float:
        began, ended = self._ordered
        return (ended - began) * 1_000

    def usual(self) -> float:
        """What a request waits, in ms, when nothing happens."""
        began, _ = self._ordered
        return statistics.median((end - at) * 1_000 for at, end, _ in self._took if end < began)

    def around(self, *, callers: bool = False) -> list[float]:
        """The waits, in ms, of those that were under way while the shard moved."""
        began, ended = self._ordered
        return [
            (end - at) * 1_000
            for at, end, is_caller in self._took
            if end >= began and at <= ended and (is_caller or not callers)
        ]

    def _probe(self) -> None:
        if not self._asking:
            return
        self._next += 1
        is_caller = self._next % CALLERS_EVERY == 0
        now = time.monotonic()
        if is_caller:
            self._sent[self._phones.invite()] = (now, True)
        else:
            call: Call = self._calls[self._next % len(self._calls)]
            self._sent[call.id] = (now, False)
            self._phones.probe(call)
        self._phones.later(EVERY_S, self._probe)

    def _on_probe(self, id: bytes, status: int, now: float) -> None:
        assert status == 200, status
        self._on_answer(id, now)

    def _on_answer(self, id: bytes, now: float) -> None:
        sent = self._sent.pop(id, None)
        if sent is not None:
            self._took.append((sent[0], now, sent[1]))
