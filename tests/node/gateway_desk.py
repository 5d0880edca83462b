"""A node as the gateways' API sees it, around a real shard of alarms; served on a free port."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms import inputs
from gateway_mgmt.alarms.documents import document, joined
from gateway_mgmt.alarms.view import Shown, alarms
from gateway_mgmt.documents import gateway
from gateway_mgmt.ds1 import INTERVAL_MS, Counters, Row
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.known import Known
from gateway_mgmt.observation import gateway_of
from gateway_mgmt.reading import Reading, SpanReading
from node.api import NotHere, Refused, serve_api
from node.gateway_news import News
from node.gateways_api import serve_gateways_api
from tests.gateway_mgmt.world import WALL_MS, World
from tests.node.test_api import Desk
from tests.node.test_merge import answer, shard

SHARD = "gateways@delhi"
DEVICES = {
    "tg1": Device(
        site="delhi",
        profile="audiocodes",
        address=("10.0.0.1", 161),
        access=User("noc", "env:TG1_AUTH", "env:TG1_PRIVACY"),
        spans={1: Span(1, trunk="carrier-a"), 2: Span(2, trunk="carrier-a"), 3: Span(3)},
    ),
    "tg2": Device("delhi", "generic", ("10.0.0.2", 161), Community("env:TG2"), spans={1: Span(1)}),
}


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def read(name: str, at_ms: int, **own: int) -> Reading:
    """What it answers while all is well; `own`: of each of its spans."""
    line = SpanReading(1, 1, 300, 96, 0, Counters(), {"d_channel": 0, "trunk_alarm": 1} | own)
    spans = dict.fromkeys(DEVICES[name].spans, line)
    return Reading(name, at_ms, 8_640_000, name, "1.3.6.1.4.1.5003.8", spans=spans, asked=20)


class GatewayDesk:
    """Implements GatewaysReader. `known` is what polls would have shown."""

    def __init__(self, epoch: int = 3, devices: dict[str, Device] = DEVICES) -> None:
        self.devices = devices
        self.world = World()
        self.world.epoch = epoch
        self.known = {name: Known() for name in devices}
        self.news = News()
        self.is_active = True
        self.breaks: Exception | None = None
        self._now()
        self.tell()

    def _now(self) -> None:
        self.world.run_until(wall_ms() - WALL_MS)

    # What happens.

    def polled(self, name: str, **own: int) -> None:
        """The device answered, and has kept a day."""
        self._now()
        now_ms = wall_ms()
        rows = [
            Row(now_ms - 300_000 - n * INTERVAL_MS, Counters(es=2 if n == 1 else 0))
            for n in range(96, 0, -1)
        ]
        every = {number: list(rows) for number in self.devices[name].spans}
        self.known[name] = Known(now_ms, read(name, now_ms, **own), every)
        self.tell()

    def see(self, conditions: str, state: str, path: str) -> None:
        self._now()
        self.world.see(conditions, state, path)
        self.world.run_until(self.world.now_ms + 3_000)  # and it soaked
        self.tell()

    def tell(self) -> None:
        for row in self.rows():
            self.news.tell(f"gateway/{row['gateway']}", {"kind": "gateway", **row})
        self.news.tell("alarms", {"kind": "alarms", **self.document(0)})

    # What is asked.

    def shown(self) -> list[Shown]:
        return alarms(self.world.records, self.world.machine.book)

    def rows(self) -> list[dict[str, Any]]:
        return [
            gateway(
                name,
                device,
                shipped()[device.profile],
                self.known[name],
                self.shown(),
                shard=SHARD,
                epoch=self.world.epoch,
            )
            for name, device in self.devices.items()
        ]

    def document(self, history: int) -> dict[str, Any]:
        return document(
            self.world.records,
            self.world.machine.book,
            shard=SHARD,
            epoch=self.world.epoch,
            history=history,
            shift_ms=WALL_MS - 5_000,
        )

    async def gateways(self) -> list[dict[str, Any]]:
        if self.breaks:
            raise self.breaks
        return self.rows() if self.is_active else []

    async def alarms(self, history: int) -> dict[str, Any]:
        return joined([self.document(history)] if self.is_active else [])

    async def acknowledge(self, alarm: str, by: str, note: str) -> dict[str, Any]:
        if not self.is_active or alarm not in [one.id for one in self.shown()]:
            raise NotHere(f"alarm {alarm}: no such alarm stands")
        self.world.post(inputs.Acknowledge(alarm, by, note))
        self.tell()
        return {"alarm": alarm, "by": by, "note": note}

    async def set_window(
        self, id: str, path: str, from_ms: int, until_ms: int, by: str, note: str
    ) -> dict[str, Any]:
        if not self.is_active or gateway_of(path) not in (*self.devices, "trunk:carrier-a"):
            raise NotHere(f"{path}: is not declared")
        if until_ms < wall_ms():
            raise Refused(f"{path}: that is over already")
        self._now()
        self.world.post(inputs.SetWindow(id, path, from_ms, until_ms, by, note))
        self.tell()
        (found,) = [one for one in self.document(0)["windows"] if one["id"] == id]
        return dict(found)

    async def end_window(self, id: str, by: str) -> dict[str, Any]:
        if not self.is_active or id not in self.world.machine.book.windows:
            raise NotHere(f"no maintenance {id} is set")
        self.world.post(inputs.EndWindow(id, by))
        self.tell()
        return {"id": id, "by": by}

    async def changes(self) -> AsyncGenerator[dict[str, Any], None]:
        if self.breaks:
            raise self.breaks
        async with aclosing(self.news.follow()) as news:
            async for one in news:
                yield one


@contextlib.asynccontextmanager
async def node(desk: GatewayDesk, name: str = "n1", port: int = 0) -> AsyncIterator[str]:
    """The address of a node with the whole API."""
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    status = answer(name, shard("main", "active", 5, name)) | {"peers": {name: address}}
    serve_api(server, Desk({"status": status}))
    serve_gateways_api(server, desk)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)
