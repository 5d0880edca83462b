"""A process that attends until it is killed: `python -m tests.cluster.attending URL NODE`."""

import asyncio
import sys
from pathlib import Path

from cluster.io.etcd import EtcdStore
from cluster.io.sqlite import SqliteStore
from cluster.io.zookeeper import ZooKeeperStore
from cluster.store import Store


def store_at(url: str) -> Store:
    """`sqlite://PATH`, `etcd://HOST:PORT/PREFIX` or `zookeeper://HOST:PORT/PREFIX`."""
    kind, _, place = url.partition("://")
    if kind == "sqlite":
        return SqliteStore(Path(place))
    address, _, prefix = place.partition("/")
    host, _, port = address.partition(":")
    endpoints = [(host, int(port))]
    if kind == "etcd":
        return EtcdStore(endpoints=endpoints, prefix=prefix)
    return ZooKeeperStore(endpoints, prefix=prefix)


async def run(url: str, node: str) -> None:
    store = store_at(url)
    await store.open()
    store.attend(node, b"")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
