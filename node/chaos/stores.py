"""The coordination stores that chaos can run on: how each is started, and how it goes away."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from loadtest.io.store_servers import EtcdServers, Servers, ZooKeeperServers
from node.directory import Directory

LOCK_S = 5.0
"""How long the lock may take to be had; nodes hold it for milliseconds."""
MEMBERS = 3
"""Of an etcd or a ZooKeeper: one may die."""


class StoreHere(Protocol):
    """A store that this run has started, or that starts with the cluster."""

    @property
    def words(self) -> list[str]:
        """What `keepline up` is told of it."""

    async def start(self) -> None:
        """Raises ServersFailed."""

    async def close(self) -> None: ...

    def away(self) -> AbstractAsyncContextManager[None]:
        """While the context lasts, the store takes no change."""

    def struck(self) -> AbstractAsyncContextManager[None]:
        """What shall happen to the store as an active dies: its leader dies with it, or, where it
        has none, it is away for the moment. While the context lasts, that is not undone.
        """


class SqliteHere:
    """One file in the cluster's data directory. Away: somebody keeps it locked."""

    def __init__(self, data: Path) -> None:
        self.words: list[str] = []
        self._path = Directory(data).store

    async def start(self) -> None:
        """It starts with the cluster."""

    async def close(self) -> None:
        """And ends with it."""

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        store = sqlite3.connect(
            self._path, timeout=LOCK_S, isolation_level=None, check_same_thread=False
        )
        try:
            await asyncio.to_thread(store.execute, "begin immediate")
            yield
            store.execute("rollback")
        finally:
            store.close()

    struck = away


class ServersHere:
    """Three servers, each a process, on an address of their own. Away: all of them stand still."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.words = ["--store", servers.url("chaos")]

    async def start(self) -> None:
        await asyncio.to_thread(self._servers.start)

    async def close(self) -> None:
        await asyncio.to_thread(self._servers.end)

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        members = list(self._servers.running)
        for member in members:
            self._servers.stop(member)
        try:
            yield
        finally:
            for member in members:
                self._servers.resume(member)

    @contextlib.asynccontextmanager
    async def struck(self) -> AsyncIterator[None]:
        """Its leader is killed, and started again afterwards."""
        leader = await asyncio.to_thread(self._servers.leader)
        self._servers.kill(leader)
        try:
            yield
        finally:
            await asyncio.to_thread(self._servers.start, leader)


MakeStore = Callable[[Path, str], StoreHere]


def _etcd(folder: Path, host: str) -> StoreHere:
    return ServersHere(EtcdServers(folder, MEMBERS, host))


def _zookeeper(folder: Path, host: str) -> StoreHere:
    return ServersHere(ZooKeeperServers(folder, MEMBERS, host))


def _sqlite(folder: Path, host: str) -> StoreHere:
    return SqliteHere(folder / "data")


STORES: dict[str, MakeStore] = {"sqlite": _sqlite, "etcd": _etcd, "zookeeper": _zookeeper}
"""By name; made with the cluster's folder and an address of its own. They raise ServersFailed."""
