"""A watcher of virtual gateways on the loop of a test that waits for what is reported."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from gateway_mgmt.access import Community, User
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.poller import Poller, make
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.traps import TrapPort
from gateway_mgmt.io.watch import Report, Watcher
from gateway_mgmt.observation import Observation
from gateway_mgmt.traps import Desk
from loadtest.io.gateways import Gateways

DEADLINE_S = 20
OURS = b"\x80\x00\x1f\x88\x04watcher"
V2C = Community("env:T_COMMUNITY")
V3 = User("noc", "env:T_AUTH", "env:T_PRIVACY")


def device(
    gateways: Gateways, number: int, access: Community | User = V2C, **more: object
) -> Device:
    host = gateways.host(number)
    given: dict[str, object] = {
        "profile": "audiocodes",
        "sip": (host, 5_060),
        "poll_ms": 1_000,
        "spans": {1: Span(1), 2: Span(2)},
    }
    return Device(site="test", address=(host, 1_161), access=access, **given | more)  # type: ignore[arg-type]


class Watched:
    """What a watcher reported."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._news = asyncio.Event()
        self.watcher: Watcher
        self.port: TrapPort
        self.desk: Desk

    def report(self, report: Report) -> None:
        self.reports.append(report)
        self._news.set()

    async def until(self, wanted: Callable[[Report], object], *, after: int = 0) -> Report:
        """The first report, from the `after`th on, of which this is true."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._news.clear()
                for report in self.reports[after:]:
                    if wanted(report):
                        return report
                if self.watcher.failed.done():
                    self.watcher.failed.result()
                await self._news.wait()

    async def of(self, name: str, wanted: Callable[[Report], object], *, after: int = 0) -> Report:
        """Like `until`, of one device."""
        return await self.until(
            lambda report: report.device == name and wanted(report), after=after
        )

    async def sees(
        self, path: str, condition: str, is_on: bool | None, *, after: int = 0
    ) -> Report:
        def is_it(one: Observation) -> bool:
            return (one.path, one.condition, one.is_on) == (path, condition, is_on)

        return await self.until(lambda report: any(map(is_it, report.observations)), after=after)

    def seen(self, condition: str) -> list[bool | None]:
        """All that was said of it, of whichever object."""
        return [
            one.is_on
            for report in self.reports
            for one in report.observations
            if one.condition == condition
        ]


@asynccontextmanager
async def watched(
    devices: Mapping[str, Device], poller: Poller | str = "gufo", *, timeout_ms: int = 1_000
) -> AsyncGenerator[Watched, None]:
    found = Watched()
    made = make(poller) if isinstance(poller, str) else poller
    found.watcher = Watcher(devices, shipped(), made, found.report, timeout_ms=timeout_ms)
    found.port = TrapPort(("127.0.0.1", 0))
    found.desk = found.watcher.listen(found.port, engine_id=OURS, boots=1, started_s=0)
    found.watcher.start()
    try:
        yield found
    finally:
        await found.watcher.stop()
        made.close()
        found.port.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a fact, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110  # counts tell nobody when they change
            await asyncio.sleep(0.01)
