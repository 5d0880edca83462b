"""The links of nodes without anything above them, in one process."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from cluster.io.link import Links, Present
from cluster.io.security import Security
from cluster.messages import Message
from tests.cluster.hosts import free_ports


class End:
    """The links of one node, and what they told."""

    def __init__(
        self,
        name: str,
        peers: dict[str, str],
        security: Security,
        services: Callable[[grpc.aio.Server], None] = lambda server: None,
    ) -> None:
        self.name = name
        self.peers = peers
        self.security = security
        self.services = services
        self.got: list[tuple[str, Message]] = []
        self.up: list[str] = []
        self.down: list[str] = []
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.broken: list[BaseException] = []
        self.links = self.made()

    def made(self) -> Links:
        return Links(
            node=self.name,
            incarnation="x",
            listen=self.peers[self.name],
            peers={name: at for name, at in self.peers.items() if name != self.name},
            receiver=self,
            guard=self.broken.append,
            security=self.security,
            note=lambda what, **fields: self.notes.append((what, fields)),
            services=self.services,
        )

    def received(self, node: str, shard: str, message: Message) -> None:
        self.got.append((node, message))

    def link_up(self, node: str) -> None:
        self.up.append(node)

    def link_down(self, node: str) -> None:
        self.down.append(node)

    def greeted(self, node: str, incarnation: str) -> None: ...

    async def who(self, shard: str) -> Present:
        return Present(self.name, "x", "", False)

    def noted(self, what: str) -> list[dict[str, Any]]:
        return [fields for kind, fields in self.notes if kind == what]

    async def again(self) -> None:
        """As after a restart, without the look at the certificate that comes with it."""
        await self.links.stop()
        self.links = self.made()
        await self.links.start()


@contextlib.asynccontextmanager
async def ends(**securities: Security) -> AsyncIterator[list[End]]:
    ports = free_ports(len(securities))
    peers = {name: f"127.0.0.1:{port}" for name, port in zip(securities, ports, strict=True)}
    found = [End(name, peers, one) for name, one in securities.items()]
    try:
        for end in found:
            await end.links.start()
        yield found
    finally:
        for end in found:
            await end.links.stop()
    assert [end.broken for end in found] == [[] for _ in found]


def are_up(*found: End) -> bool:
    return all(one.links.is_up(other.name) for one in found for other in found if other is not one)
