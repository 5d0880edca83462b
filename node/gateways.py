"""What this node says of gateways: the sites whose alarms are decided here, as they are committed.

`node.gateways_api` serves it. What polls have shown is only here; the rest any node would say.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog

from cluster.io.clock import wall_ms
from cluster.io.host import Host
from cluster.runtime import Shard
from gateway_mgmt.alarms import documents, inputs, view
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.documents import gateway
from gateway_mgmt.known import Known
from gateway_mgmt.observation import TRUNK, gateway_of
from node.api import NotHere, Refused
from node.gateway_news import News
from node.gateway_shard import GatewayShard

LOOK_S = 0.25
"""How soon a watcher sees what has changed."""
AT_ONCE = 50
"""Rows that are made in one turn of the loop."""

Document = dict[str, Any]

log = structlog.get_logger()


class Gateways:
    """Implements `node.gateways_api.GatewaysReader`. `shards`: those of alarms, a live mapping."""

    def __init__(self, host: Host, shards: Mapping[str, GatewayShard]) -> None:
        self._host = host
        self._shards = shards
        self._news = News()
        self._watchers = 0
        self._teller: asyncio.Task[None] | None = None
        self._seen: dict[str, tuple[int, int]] = {}
        """Epoch and commit that watchers have been told of, by shard."""
        self._with_alarms: dict[str, set[str]] = {}
        """Gateways that had alarms then, by shard."""

    def served(self) -> Iterator[tuple[GatewayShard, Shard]]:
        """The shards of alarms that are active here."""
        for name, shard in self._shards.items():
            if name in self._host.shards and self._host.shard(name).state().serving:
                yield shard, self._host.shard(name)

    async def _committed(self) -> list[tuple[GatewayShard, Shard]]:
        found = []
        for shard, run in list(self.served()):
            if await self._host.committed(shard.name):
                found.append((shard, run))
        return found

    async def standing(self, name: str) -> Sequence[Message]:
        """What the receivers shall take for true of a shard now."""
        if not await self._host.committed(name):
            return []
        run = self._host.shard(name)
        return [Message(notice) for notice in view.standing(run.records, book_of(run))]

    # What is asked.

    async def gateways(self) -> list[Document]:
        """Rows of the devices of the sites that are active here."""
        found = []
        for shard, run in await self._committed():
            async for row in rows(shard, run, list(shard.watched.devices)):
                found.append(row)
        return found

    async def alarms(self, history: int) -> Document:
        """What stands, with the newest lines of each shard's history."""
        return documents.joined(
            [document(run, shard.name, history) for shard, run in await self._committed()]
        )

    async def acknowledge(self, alarm: str, by: str, note: str) -> Document:
        """Somebody takes care of it. Raises NotHere."""
        for shard, run in self.served():
            if any(run.records[key].id == alarm for key in book_of(run).alarms):
                await self._step(shard.name, inputs.Acknowledge(alarm, by, note))
                return {"alarm": alarm, "by": by, "note": note}
        raise NotHere(f"alarm {alarm}: no such alarm stands")

    async def set_window(
        self, id: str, path: str, from_ms: int, until_ms: int, by: str, note: str
    ) -> Document:
        """Maintenance. Raises Refused, NotHere."""
        if until_ms <= wall_ms():
            raise Refused(f"{path}: that is over already")
        for shard, run in self.served():
            if is_declared(shard, run, path):
                await self._step(
                    shard.name, inputs.SetWindow(id, path, from_ms, until_ms, by, note)
                )
                for row in document(run, shard.name, 0)["windows"]:
                    if row["id"] == id:
                        return dict(row)
                raise Refused(f"{path}: there are too many maintenance windows")
        raise NotHere(f"{path}: is not declared")

    async def end_window(self, id: str, by: str) -> Document:
        """It is over. Raises NotHere."""
        for shard, run in self.served():
            if id in book_of(run).windows:
                await self._step(shard.name, inputs.EndWindow(id, by))
                return {"id": id, "by": by}
        raise NotHere(f"no maintenance {id} is set")

    async def _step(self, name: str, event: Any) -> None:
        if not (self._host.post(name, event) and await self._host.committed(name)):
            raise NotHere(f"shard {name} has just left {self._host.node}")

    # What changes.

    async def changes(self) -> AsyncGenerator[Document, None]:
        """What is known now, then what changes."""
        self._watchers += 1
        if self._teller is None:
            self._seen.clear()
            self._teller = self._host.spawn(self._tell())
        try:
            async with aclosing(self._news.follow()) as news:
                async for one in news:
                    yield one
        finally:
            self._watchers -= 1
            if not self._watchers and self._teller is not None:
                self._teller.cancel()
                self._teller, self._news = None, News()

    async def _tell(self) -> None:
        while True:
            try:
                for shard, run in await self._committed():
                    await self._tell_of(shard, run)
            except Exception as error:
                log.exception("gateways not shown", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def _tell_of(self, shard: GatewayShard, run: Shard) -> None:
        name, state = shard.name, run.state()
        concerned, shard.fresh = set(shard.fresh), {}
        devices = {"shard": name, "epoch": state.epoch, "gateways": sorted(shard.watched.devices)}
        self._news.tell(f"devices/{name}", {"kind": "devices", **devices})
        if name not in self._seen or self._seen[name][0] != state.epoch:
            concerned |= shard.watched.devices.keys()
        if self._seen.get(name) != (state.epoch, state.commit):
            self._seen[name] = state.epoch, state.commit
            self._news.tell(f"alarms/{name}", {"kind": "alarms", **document(run, name, 0)})
            alarms = view.alarms(run.records, book_of(run))
            now = {gateway_of(one.path) for one in alarms}
            concerned |= now | self._with_alarms.get(name, set())
            self._with_alarms[name] = now
        async for row in rows(shard, run, sorted(concerned & shard.watched.devices.keys())):
            self._news.tell(f"gateway/{name}/{row['gateway']}", {"kind": "gateway", **row})


def book_of(run: Shard) -> Any:
    assert isinstance(run.machine, Alarms)
    return run.machine.book


def document(run: Shard, name: str, history: int) -> Document:
    return documents.document(
        run.records,
        book_of(run),
        shard=name,
        epoch=run.state().epoch,
        history=history,
        shift_ms=wall_ms() - run.time_ms(),
    )


async def rows(
    shard: GatewayShard, run: Shard, devices: Sequence[str]
) -> AsyncGenerator[Document, None]:
    """A device's row after the other; the loop turns in between."""
    by_gateway: dict[str, list[view.Shown]] = {}
    for one in view.alarms(run.records, book_of(run)):
        by_gateway.setdefault(gateway_of(one.path), []).append(one)
    for n, name in enumerate(devices, 1):
        device = shard.watched.devices.get(name)
        if device is None:
            continue  # it went meanwhile
        yield gateway(
            name,
            device,
            shard.watched.profiles.get(device.profile),
            shard.known.get(name, Known()),
            by_gateway.get(name, ()),
            shard=shard.name,
            epoch=run.state().epoch,
        )
        if n % AT_ONCE == 0:
            await asyncio.sleep(0)


def is_declared(shard: GatewayShard, run: Shard, path: str) -> bool:
    if path.startswith(TRUNK):
        return path.removeprefix(TRUNK) in book_of(run).plan.trunks
    device, *parts = path.split("/")
    spans = shard.watched.devices[device].spans if device in shard.watched.devices else None
    return spans is not None and (not parts or parts[0] in map(str, spans))


def summary(shard: GatewayShard, run: Shard) -> str:
    """One line for whoever looks at the cluster; empty: no alarm is raised."""
    alarms = view.alarms(run.records, book_of(run))
    raised = documents.counted(alarms)
    if not raised:
        return ""
    said = ", ".join(f"{count} {severity}" for severity, count in raised.items())
    return f"gateways of {shard.site}: {said}; keepline gateway alarms"
