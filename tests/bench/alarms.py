"""What the alarms of a thousand gateways cost."""

import time
from typing import Any

from cluster.machine import Step, Timer
from cluster.timers import Timers
from gateway_mgmt.alarms.inputs import Configure, Observed
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.records import Plan
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import Trunk

CONDITIONS = ("los", "lof", "ais", "rai", "tx_rai", "tx_ais", "ts16_ais", "ts16_lomf", "loopback",
              "d_channel_down")  # fmt: skip
BAD = ("los", "lof", "tx_rai")
CYCLE_MS = 30_000


def observation(*, quick: bool) -> dict[str, Any]:
    """CPU of one observation: gateways of four spans, one in 20 without signal half of the time.

    Steps, encoded records and timers are in it; the log and the messages on the wire are not.
    """
    gateways, cycles = (200, 10) if quick else (1_000, 20)
    names = [f"tg{n}" for n in range(gateways)]
    trunks = {name: Trunk({f"{name}/{span}": 30 for span in range(4)}) for name in names}
    machine = Alarms(Plan())
    records: dict[str, Any] = {}
    timers = Timers()
    steps = 0

    def post(event: Any, now_ms: int) -> None:
        nonlocal steps
        steps += 1
        tx = Step(records, shard="alarms", epoch=1, n=steps, now_ms=now_ms, wall_ms=now_ms,
                  random=b"")  # fmt: skip
        machine.step(tx, event)
        for key in tx._changed:
            record = records.get(key)
            if record is None:
                timers.arm(key, None)
            else:
                machine.encode(key, record)
                timers.arm(key, machine.deadline(key, record))

    plan = Plan(gateways={name: {} for name in names}, trunks=trunks, receivers=("noc",),
                shards=("main",))  # fmt: skip
    post(Configure(plan), 1)
    polls = [
        [
            Observed(
                tuple(
                    Observation(f"tg{n}/{span}", name, is_bad and name in BAD, 0)
                    for name in CONDITIONS
                )
            )
            for n in range(gateways)
            for span in range(4)
            for is_bad in [n % 20 == 0 and cycle % 10 < 5]
        ]
        for cycle in range(cycles)
    ]
    begun = time.process_time()
    for cycle, poll in enumerate(polls):
        for event in poll:
            post(event, (cycle + 1) * CYCLE_MS)
        for now_ms in range((cycle + 1) * CYCLE_MS, (cycle + 2) * CYCLE_MS, 500):
            while due := timers.take(now_ms):
                post(Timer(due[1], due[0]), now_ms)
    took_s = time.process_time() - begun
    spans = gateways * 4 * cycles
    return {
        "us": round(1e6 * took_s / (spans * len(CONDITIONS)), 2),
        "us_per_span": round(1e6 * took_s / spans, 1),
        "observations": spans * len(CONDITIONS),
        "messages": sum(key.startswith("notice/") for key in records),
        "history": sum(key.startswith("history/") for key in records),
    }
