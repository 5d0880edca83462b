"""What the contract suite needs of a media server: start, kill and start again, command."""

import asyncio
import os
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from media_servers.io import launch
from media_servers.io.client import Client
from media_servers.verbs import Applied, Event, Session
from tests.media_servers.phones import DEADLINE_S, Phone

DEADLINE_MS = int(DEADLINE_S * 1000)


class Commander(Protocol):
    """The client of a driver, as far as the contract goes."""

    async def apply(self, session: Session, deadline_ms: int) -> Applied: ...

    async def delete(self, shard: str, epoch: int, id: str, deadline_ms: int = ...) -> None: ...

    async def query(
        self, shard: str, epoch: int | None, deadline_ms: int = ...
    ) -> dict[str, int]: ...

    def watch(self, shard: str, epoch: int) -> None: ...


class Media:
    """A running server and one node's client of it; every command is given twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recordings = folder / "recordings"
        self.sounds = folder / "own sounds"
        self.sounds.mkdir()
        self.socket = folder / "media.sock"
        first = free_range()
        self.ports = (first, first + 199)
        self.events: list[Event] = []
        self.servers: list[str] = []
        self.downs = 0
        self.process = self._launch()
        self.client = self.connect("node")
        self._arrived = asyncio.Event()

    def connect(self, node: str) -> Client:
        """A client that notes what it is told."""
        return Client(
            str(self.socket), node, on_event=self._event, on_up=self._up, on_down=self._down
        )

    async def apply(self, session: Session) -> Applied:
        """Apply it, and again: the same answer."""
        first = await self.client.apply(session, DEADLINE_MS)
        assert await self.client.apply(session, DEADLINE_MS) == first
        return first

    async def delete(self, session: Session) -> None:
        """Delete it, and again."""
        for _ in range(2):
            await self.client.delete(session.shard, session.epoch, session.id)

    async def dial(self, session: Session, **phones: Phone) -> Applied:
        """Apply, and let the phones send where they were told."""
        applied = await self.apply(session)
        for leg, phone in phones.items():
            phone.to = ("127.0.0.1", applied.ports[leg])
        return applied

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def restart(self) -> None:
        """Start it again and wait until the client is connected."""
        before = self.client.server
        self.process = await asyncio.to_thread(self._launch)
        await self.until(lambda: self.client.is_up and self.client.server != before)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that the client is told."""
        async with asyncio.timeout(DEADLINE_S):
            while not true():
                self._arrived.clear()
                await self._arrived.wait()

    def _launch(self) -> "subprocess.Popen[bytes]":
        return launch.start(
            self.socket,
            ports=self.ports,
            sounds=(self.sounds,),
            recordings=self.recordings,
            log=self.folder / "media.log",
        )

    def _event(self, shard: str, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()

    def _up(self, server: str) -> None:
        self.servers.append(server)
        self._arrived.set()

    def _down(self) -> None:
        self.downs += 1
        self._arrived.set()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Media]:
    """Our own server in a process of its own."""
    media = Media(folder)
    try:
        await media.client.start()
        await media.client.wait_up(DEADLINE_MS)
        media.client.watch("main", 1)
        yield media
    finally:
        await media.client.close()
        if media.process.poll() is None:
            os.kill(media.process.pid, signal.SIGTERM)
        assert await asyncio.to_thread(media.process.wait, DEADLINE_S) in (0, -signal.SIGKILL)
        log = (folder / "media.log").read_text()
        assert "bug" not in log, log


DRIVERS = {"embedded": embedded}


def free_range() -> int:
    """The start of 200 ports that are free, for all that can be told."""
    # Below what the kernel hands out by itself: nobody takes a port while its server is restarted.
    for first in random.sample(range(10_000, 32_000, 200), 100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, suppress(OSError):
            one.bind(("127.0.0.1", first))
            return first
    raise AssertionError("no free ports")
