"""Asks a cluster for its gateways and alarms; watches all of its nodes at once."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from node import merge, merge_gateways
from node.api import NotHere, Refused, Unreachable
from node.ask import ANSWER_MS, Cluster, NoCluster, who
from node.gateways_api import GatewaysClient

AGAIN_S = 0.5
"""Between two tries to watch a node that is gone..."""
LOOK_S = 5.0
"""...and between two looks for nodes that are new."""

Document = dict[str, Any]


class Heard(NamedTuple):
    """From a node that is watched: a change, or why it cannot be heard."""

    node: str
    change: Document | None
    trouble: str = ""
    """Empty, without a change: the node is no part of the cluster any more."""


class Gateways:
    """All gateways of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = GatewaysClient(cluster.client)

    async def rows(self) -> list[Document]:
        """Every gateway's row, the worst first. Raises NoCluster, Unreachable, Refused."""
        found = merge.rows(await self._each("gateways"))
        return sorted(found, key=merge_gateways.worst_first)

    async def row(self, name: str) -> Document:
        """One gateway's row, and its alarms. Raises NoCluster, Unreachable, Refused."""
        rows = await self.rows()
        found = next((row for row in rows if row["gateway"] == name), None)
        if found is None:
            known = ", ".join(sorted(row["gateway"] for row in rows)) or "none"
            raise Refused(f"no gateway {name!r} is watched; known: {known}")
        alarms = await self.alarms(0)
        own = [one for one in alarms["alarms"] if one["path"].partition("/")[0] == name]
        return {**found, "raised": own}

    async def alarms(self, history: int) -> Document:
        """Alarms, windows, trunks, receivers, and so many lines of history. Raises NoCluster,
        Unreachable, Refused."""
        merged = merge_gateways.alarms(await self._each("alarms", history))
        merged["history"] = merged["history"][-history:] if history else []
        return merged

    async def _each(self, what: str, history: int = 0) -> dict[str, Any]:
        answers = await self._cluster.client.each(
            await self._cluster.addresses(),
            lambda address: self._client.read(address, what, history=history, timeout_ms=ANSWER_MS),
        )
        if all(answer is None for answer in answers.values()):
            raise Unreachable("no node answers")
        return answers

    async def acknowledge(self, alarm: str, note: str) -> Document:
        """By its id, or as condition@path. Raises NoCluster, Unreachable, Refused."""
        standing = (await self.alarms(0))["alarms"]
        found = [one for one in standing if alarm in (one["id"], one["name"]) and one["id"]]
        if not found:
            names = ", ".join(one["name"] for one in standing if one["id"]) or "none"
            raise Refused(f"no alarm {alarm!r} stands; these do: {names}")
        id = found[0]["id"]
        done = await self._cluster.client.first(
            await self._cluster.addresses(),
            lambda address: self._client.acknowledge(
                address, id, by=who(), note=note, timeout_ms=ANSWER_MS
            ),
        )
        return {**done, "name": found[0]["name"]}

    async def set_window(self, path: str, for_ms: int, note: str) -> Document:
        """Maintenance from now on. Raises NoCluster, Unreachable, Refused."""
        id = f"w-{secrets.token_hex(3)}"
        now_ms = time.time_ns() // 1_000_000
        try:
            done = await self._cluster.client.first(
                await self._cluster.addresses(),
                lambda address: self._client.set_window(
                    address, id, path, from_ms=now_ms, until_ms=now_ms + for_ms, by=who(),
                    note=note, timeout_ms=ANSWER_MS,
                ),
            )  # fmt: skip
        except NotHere as refused:
            raise Refused(str(refused)) from None
        return dict(done)

    async def end_window(self, id: str) -> Document:
        """Raises NoCluster, Unreachable, Refused."""
        done = await self._cluster.client.first(
            await self._cluster.addresses(),
            lambda address: self._client.end_window(address, id, by=who(), timeout_ms=ANSWER_MS),
        )
        return dict(done)

    # Watching.

    async def watch(self) -> AsyncGenerator[Heard, None]:
        """What all nodes know and what changes, for ever; of one that cannot be heard, why, and
        all it knows when it can be again. Raises NoCluster, Unreachable, Refused at the start."""
        addresses = await self._cluster.addresses()
        heard: asyncio.Queue[Heard] = asyncio.Queue(1)
        watching: dict[str, tuple[str, asyncio.Task[None]]] = {}
        try:
            self._keep(watching, addresses, heard)
            looks = asyncio.create_task(self._look(watching, heard))
            watching["/"] = "", looks  # no node has that name
            while True:
                yield await heard.get()
        finally:
            tasks = [task for _, task in watching.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(
        self,
        watching: dict[str, tuple[str, asyncio.Task[None]]],
        addresses: dict[str, str],
        heard: "asyncio.Queue[Heard]",
    ) -> list[str]:
        """Watch these nodes, each at its address; who is watched no more."""
        gone = [name for name in watching if name not in addresses and name != "/"]
        for name in [*gone, *addresses]:
            before = watching.get(name)
            if before is not None and before[0] != addresses.get(name):
                before[1].cancel()
                del watching[name]
        for name, address in addresses.items():
            if name not in watching:
                task = asyncio.create_task(self._watch_node(name, address, heard))
                watching[name] = address, task
        return gone

    async def _look(
        self,
        watching: dict[str, tuple[str, asyncio.Task[None]]],
        heard: "asyncio.Queue[Heard]",
    ) -> None:
        """Nodes come and go."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(NoCluster, Unreachable, Refused):
                addresses = await self._cluster.addresses()
                for name in self._keep(watching, addresses, heard):
                    await heard.put(Heard(name, None))

    async def _watch_node(self, name: str, address: str, heard: "asyncio.Queue[Heard]") -> None:
        said = ""
        while True:
            try:
                async with aclosing(self._client.watch(address)) as changes:
                    async for change in changes:
                        said = ""
                        await heard.put(Heard(name, change))
            except (Unreachable, Refused) as error:
                if str(error) != said:
                    said = str(error)
                    await heard.put(Heard(name, None, said))
            await asyncio.sleep(AGAIN_S)
