"""What Prometheus is told of gateways, by the node where their alarms are decided."""

import asyncio
from collections.abc import Iterator

import structlog

from cluster.runtime import Shard
from gateway_mgmt.alarms import documents, view
from gateway_mgmt.alarms.documents import is_raised
from gateway_mgmt.alarms.kinds import CLEARED, SEVERITIES
from gateway_mgmt.alarms.records import Notice, Route
from gateway_mgmt.ds1 import Counters, availability
from gateway_mgmt.known import Known
from node.gateway_shard import GatewayShard
from node.gateways import Gateways, book_of
from node.metrics import Sample

EVERY_S = 5.0
LOOK_S = 0.5
AT_ONCE = 200
"""Samples that are made in one turn of the loop."""
SECONDS = ("es", "ses", "sefs", "uas")
"""Of Counters: what a line's quality is judged by."""

log = structlog.get_logger()


class GatewaySamples:
    """The samples of a node's gateways, taken every few seconds."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self._taken: dict[str, list[Sample]] = {}

    def now(self) -> list[Sample]:
        """Of the sites that are active here; who has left is told of by another node."""
        return [
            sample
            for shard, _ in self._gateways.served()
            for sample in self._taken.get(shard.name, ())
        ]

    async def run(self) -> None:
        """Take them, for ever. They may be many: some at a time, so that no call waits for them."""
        while True:
            try:
                self._taken = await self._take()
            except Exception as error:
                log.exception("gateways not counted", error=repr(error))
            for _ in range(round(EVERY_S / LOOK_S)):
                await asyncio.sleep(LOOK_S)
                if any(shard.name not in self._taken for shard, _ in self._gateways.served()):
                    break  # who has just come is told of at once

    async def _take(self) -> dict[str, list[Sample]]:
        taken: dict[str, list[Sample]] = {}
        for shard, run in list(self._gateways.served()):
            found = taken[shard.name] = []
            for n, sample in enumerate(samples(shard, run)):
                found.append(sample)
                if n % AT_ONCE == 0:
                    await asyncio.sleep(0)
        return taken


def samples(shard: GatewayShard, run: Shard) -> Iterator[Sample]:
    """Of one site. The loop may turn between one and the next."""
    site = {"site": shard.site}
    alarms = view.alarms(run.records, book_of(run))
    raised = documents.counted(alarms)
    for severity in SEVERITIES:
        if severity != CLEARED:
            found = raised.get(severity, 0)
            yield Sample("keepline_gateway_alarms", found, site | {"severity": severity})
    for one in alarms:
        if is_raised(one):
            label = site | {"path": one.path, "condition": one.condition, "severity": one.severity}
            yield Sample("keepline_gateway_alarm_raised", 1, label)
    for name, device in list(shard.watched.devices.items()):
        known = shard.known.get(name)
        if known is None:
            continue  # it was not asked yet
        label = site | {"gateway": name}
        yield Sample("keepline_gateway_up", float(not known.missed), label)
        for number in device.spans:
            yield from of_span(known, number, label | {"span": str(number)})
    records = list(run.records.values())
    for record in records:
        if isinstance(record, Route):
            label = site | {"trunk": record.state.trunk}
            yield Sample("keepline_trunk_channels", record.state.channels, label)
            yield Sample("keepline_trunk_channels_declared", record.state.of, label)
    waiting = [one for one in records if isinstance(one, Notice)]
    for name in shard.watched.receivers:
        left = sum(name in one.waiting for one in waiting)
        yield Sample("keepline_receiver_waiting_messages", left, site | {"receiver": name})
    yield from of_poller(shard)


def of_span(known: Known, number: int, label: dict[str, str]) -> Iterator[Sample]:
    """Seconds of the running 15 minutes, and availability of the kept day (ITU-T G.826).

    Of a gateway that does not answer the running ones are not known.
    """
    line = known.reading.spans.get(number) if known.reading and not known.missed else None
    if line is not None and line.current is not None:
        current: Counters = line.current
        for name in SECONDS:
            value = getattr(current, name)
            yield Sample("keepline_e1_current_seconds", value, label | {"kind": name})
    rows = known.rows.get(number, [])
    day = availability(rows)
    if day.percent is not None:
        yield Sample("keepline_e1_availability_ratio", day.percent / 100, label)
        for name in SECONDS:
            total = sum(getattr(row.counters, name) for row in rows if row.is_valid)
            yield Sample("keepline_e1_day_seconds", total, label | {"kind": name})


def of_poller(shard: GatewayShard) -> Iterator[Sample]:
    counted = shard.counted
    if counted is None:
        return
    site = {"site": shard.site}
    for kind in ("answered", "partial", "silent", "refused", "unknown"):
        value = getattr(counted, kind)
        yield Sample("keepline_gateway_polls_total", value, site | {"result": kind})
    for kind, value in counted.traps.items():
        yield Sample("keepline_gateway_traps_total", value, site | {"result": kind})
    yield Sample("keepline_gateway_traps_lost_total", counted.trap_drops, site)
    yield Sample("keepline_gateway_trap_buffer_bytes", counted.trap_rcvbuf, site)
    yield Sample("keepline_gateway_poll_lag_seconds", counted.lag_ms / 1_000, site)
