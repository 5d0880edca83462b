"""Which nodes and processes there are, as the store says, and which nodes are to drain."""

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress

import msgspec

from cluster import orders
from cluster.io.clock import now_ms, wall_ms
from cluster.io.gathering import Shared
from cluster.io.process import is_gone
from cluster.process import PROCESS_KEYS, SHARD_KEYS, process_key
from cluster.roster import Roster
from cluster.store import (
    Process,
    Store,
    StoreAway,
    decode_key,
    decode_process,
    encode_process,
    node_of,
    process_of,
)

START_MS = 5_000
"""The store is asked for so long before a node gives up starting."""
AGAIN_MS = 10


class Nodes:
    """One node's knowledge of all of them."""

    def __init__(
        self,
        node: str,
        incarnation: str,
        store: Store,
        roster: Roster,
        shared: Shared,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change`: the roster may have changed."""
        self.roster = roster
        self.processes: Mapping[tuple[str, str], Process] = {}
        """Those that are written down, by node and incarnation."""
        self.staying: Mapping[str, orders.Stay] = {}
        """By shard: where an operator put it."""
        self._node = node
        self._incarnation = incarnation
        self._store = store
        self._shared = shared
        self._on_change = on_change

    async def look(self) -> None:
        """Processes and orders as they stand now. StoreAway."""
        await self.read()
        ordered = orders.read(await self._store.list(orders.PLACING_KEYS))
        self.staying = ordered.staying
        self._drain(frozenset(ordered.draining))

    async def read(self) -> None:
        """The processes; those of before if the store is away."""
        await self._shared.ask("processes", self._list)

    async def _list(self) -> None:
        try:
            rows = await self._store.list(PROCESS_KEYS)
        except StoreAway:
            return
        found: dict[tuple[str, str], Process] = {}
        for value in rows.values():
            with suppress(msgspec.DecodeError):  # somebody else's: it proves nothing of a process
                process = decode_process(value)
                found[process.node, process.incarnation] = process
        self.processes = found
        self.roster.learn(found.values())
        self._on_change()

    async def write_down(self, me: Process) -> None:
        """StoreAway if the store was away for START_MS: a disk is slow when many start at once."""
        until_ms = now_ms() + START_MS
        while True:
            try:
                await self._store.put(
                    process_key(self._node, self._incarnation), encode_process(me)
                )
            except StoreAway:
                if now_ms() > until_ms:
                    raise
                await asyncio.sleep(AGAIN_MS / 1000)
            else:
                return

    async def clear(self) -> None:
        """Forget those of this node's processes that are gone and that no shard's key names."""
        await self.read()
        named = await self._named()
        for process in list(self.processes.values()):
            if process.node == self._node and process.incarnation not in named and is_gone(process):
                await self._store.delete(process_key(process.node, process.incarnation))

    async def strike_out(self) -> None:
        """This process leaves in order: nobody shall miss its node. StoreAway."""
        if self._incarnation not in await self._named():
            await self._store.delete(process_key(self._node, self._incarnation))

    async def _named(self) -> Container[str]:
        """The incarnations that a shard's key names. StoreAway."""
        try:
            keys = [decode_key(value) for value in (await self._store.list(SHARD_KEYS)).values()]
        except msgspec.DecodeError:
            return _Everybody()  # whom it names cannot be told
        return {process_of(member) for key in keys if key for member in (key.active, *key.in_sync)}

    async def process_of(self, member: str) -> Process | None:
        """The process that wrote itself down as this member's."""
        name = node_of(member), process_of(member)
        if name not in self.processes:
            await self.read()
        return self.processes.get(name)

    async def are_gone(self, members: Sequence[str], own: str) -> bool:
        """Is the process, or the life of the shard in it, of every member provably gone?

        `own`: the member that this process is now.
        """
        await self.read()
        for member in members:
            name = node_of(member), process_of(member)
            if name == (self._node, self._incarnation):
                if member == own:
                    return False
                continue
            process = self.processes.get(name)
            if process is None or not is_gone(process):
                return False
        return True

    # -- what operators order ----------------------------------------------------------------------

    async def drain(self, node: str) -> None:
        """It shall lead nothing and, if others can, hold nothing, until `undrain`. StoreAway."""
        if node not in self.roster.draining:
            drain = orders.Drain(wall_ms())
            await self._store.put(orders.drain_key(node), orders.encode(drain))
        self._drain(self.roster.draining | {node})

    async def undrain(self, node: str) -> None:
        """It is a node like any other again. StoreAway."""
        await self._store.delete(orders.drain_key(node))
        self._drain(self.roster.draining - {node})

    async def forget(self, node: str) -> None:
        """It is gone for good, and nobody shall miss it. StoreAway.

        What a shard's key still names stays written down: it must be told from others.
        """
        named = await self._named()
        for process in list(self.processes.values()):
            if process.node == node and process.incarnation not in named:
                await self._store.delete(process_key(process.node, process.incarnation))
        await self.undrain(node)
        await self.read()

    def _drain(self, nodes: frozenset[str]) -> None:
        self.roster.draining = nodes
        self._on_change()


class _Everybody(Container[str]):
    def __contains__(self, _: object) -> bool:
        return True
