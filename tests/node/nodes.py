"""Nodes in this process, with real links and store and no media."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from node.directory import Directory
from node.node import Node
from node.options import NodeOptions
from tests.cluster.hosts import free_ports, until
from tests.node.running import free_udp_port, write_centre


class Nodes:
    """Nodes of one cluster."""

    def __init__(self, folder: Path, count: int) -> None:
        self.data = folder / "data"
        self.centre = write_centre(folder, free_udp_port())
        names = [f"n{n + 1}" for n in range(count)]
        ports = free_ports(count)
        self.peers = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        self.up: dict[str, Node] = {}
        self.broken: list[BaseException] = []

    @property
    def first(self) -> Node:
        return next(iter(self.up.values()))

    async def start(self, name: str) -> Node:
        options = NodeOptions(name=name, data=self.data, centre=self.centre, peers=self.peers)
        Directory(self.data).prepare()
        node = Node(options, self.broken.append)
        await node.start()
        self.up[name] = node
        return node

    async def serving(self, *, copies: int, shard: str = "main") -> Node:
        def found() -> Node | None:
            for node in self.up.values():
                state = node.host.states().get(shard)
                if state is not None and state.serving and len(state.in_sync) == copies:
                    return node
            return None

        await until(lambda: found() is not None, 10, f"nobody serves {shard}")
        node = found()
        assert node is not None
        return node


@contextlib.asynccontextmanager
async def nodes(folder: Path, count: int) -> AsyncIterator[Nodes]:
    together = Nodes(folder, count)
    try:
        for name in together.peers:
            await together.start(name)
        yield together
    finally:
        await asyncio.gather(*(node.stop() for node in together.up.values()))
    assert together.broken == []
