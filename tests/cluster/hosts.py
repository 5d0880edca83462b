"""Three hosts in one process, each with its own store connection, over real links."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster.io.host import Host, ShardSpec
from cluster.io.security import Security
from cluster.io.sqlite import SqliteStore
from cluster.placement import DEFAULT, Policy
from cluster.store import Store
from tests.cluster.toy import Toy


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


async def until(fact: Callable[[], bool], within_s: float = 5.0, what: str = "") -> None:
    """Wait for a fact; AssertionError if it does not come true."""
    end = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < end, what or "it did not come true in time"
        await asyncio.sleep(0.002)


def counted(store: Store) -> Counter[str]:
    """From now on: how many transactions this store is asked for, by kind."""
    asked: Counter[str] = Counter()

    def counting(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*words: Any) -> Any:
            asked[kind] += 1
            return call(*words)

        return ask

    for kind in ("read_many", "cas_many", "list", "put", "delete"):
        setattr(store, kind, counting(kind, getattr(store, kind)))
    return asked


MakeStore = Callable[[], Store]


class Node:
    """One host and what its shards did."""

    def __init__(
        self,
        name: str,
        peers: dict[str, str],
        folder: Path,
        shards: dict[str, Sequence[str]],
        store: Store,
        policy: Policy = DEFAULT,
        security: Security | None = None,
        journal: str = "off",
        far: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.store = store
        self.performed: dict[str, list[Any]] = {shard: [] for shard in shards}
        self.address: dict[str, str] = {}
        self.moved: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.broken: list[BaseException] = []
        self.host = Host(
            node=name,
            peers=peers,
            store=self.store,
            shards={
                shard: ShardSpec(
                    machine=Toy,
                    perform=self.performed[shard].append,
                    preferred=preferred,
                    move_address=self._move,
                    on_serving=lambda shard, lost: self.address.update({shard: "open"}),
                    on_deposed=lambda shard: self.address.update({shard: "closed"}),
                    far=far,
                    check=True,
                )
                for shard, preferred in shards.items()
            },
            data_dir=folder,
            policy=policy,
            note=lambda what, **fields: self.notes.append(f"{what} {fields}"),
            broken=self.broken.append,
            security=security,
            journal=journal,
            tails=folder,
        )

    async def _move(self, shard: str, old: str) -> None:
        self.moved.append((shard, old))
        self.address[shard] = "bound"

    async def start(self) -> None:
        await self.store.open()
        await self.host.start()

    async def close(self) -> None:
        """As if the process ended, as far as the others can see."""
        await self.host.close()
        await self.store.close()

    async def stop(self) -> None:
        await self.host.stop()
        await self.store.close()


class Cluster:
    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        shards: dict[str, Sequence[str]],
        make_store: MakeStore | None = None,
        policy: Policy = DEFAULT,
        securities: Mapping[str, Security] | None = None,
        journal: str = "off",
        far: Sequence[str] = (),
    ) -> None:
        self.policy = policy
        self.securities = securities or {}
        self.journal = journal
        self.far = far
        self.make_store = make_store or (lambda: SqliteStore(folder / "store.db"))
        self.peers = {
            name: f"127.0.0.1:{port}"
            for name, port in zip(names, free_ports(len(names)), strict=True)
        }
        self.folder = folder
        self.shards = shards
        self.nodes: dict[str, Node] = {}

    async def start(self, name: str, peers: dict[str, str] | None = None) -> Node:
        """`peers`: whom it knows from the start; by default all that the cluster began with."""
        node = self.nodes[name] = Node(
            name,
            peers or self.peers,
            self.folder,
            self.shards,
            self.make_store(),
            self.policy,
            self.securities.get(name),
            self.journal,
            self.far,
        )
        await node.start()
        return node

    async def join(self, name: str) -> Node:
        """A node that knows only itself, and the store."""
        (port,) = free_ports(1)
        return await self.start(name, {name: f"127.0.0.1:{port}"})

    async def kill(self, name: str) -> None:
        await self.nodes.pop(name).close()

    def active(self, shard: str) -> Node | None:
        found = [(node, node.host.shards.get(shard)) for node in self.nodes.values()]
        serving = [(here.core.epoch, node) for node, here in found if here and here.state().serving]
        return max(serving, key=lambda each: each[0])[1] if serving else None

    async def served(self, shard: str, *, copies: int, within_s: float = 5.0) -> Node:
        def whole() -> bool:
            node = self.active(shard)
            return node is not None and len(node.host.states()[shard].in_sync) == copies

        await until(whole, within_s, f"{[n.host.states() for n in self.nodes.values()]}")
        node = self.active(shard)
        assert node is not None
        return node


@asynccontextmanager
async def cluster(
    folder: Path,
    names: Sequence[str] = ("a", "b", "c"),
    *,
    make_store: MakeStore | None = None,
    shards: Mapping[str, Sequence[str]] | None = None,
    policy: Policy = DEFAULT,
    securities: Mapping[str, Security] | None = None,
    journal: str = "off",
    far: Sequence[str] = (),
    **more: Sequence[str],
) -> AsyncIterator[Cluster]:
    """`make_store` gives each node's own; by default a SQLite file in `folder`."""
    named = {**(shards or {}), **more} or {"main": names}
    together = Cluster(folder, names, named, make_store, policy, securities, journal, far)
    try:
        for name in names:
            await together.start(name)
        yield together
    finally:
        for name in list(together.nodes):
            await together.kill(name)
