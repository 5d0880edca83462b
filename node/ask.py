"""Finds a cluster and asks all of it: what every command but `up` and `node` starts with."""

import asyncio
import contextlib
import getpass
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from cluster.io.security import Security
from node import events_db, merge
from node.api import ApiClient, NoAnswer, NotHere, Refused, Unreachable, Wanted
from node.config import read_centre
from node.directory import Directory
from node.yaml_tree import read_file, read_tree

ANSWER_MS = 2_000
"""How long a node may take to answer."""

SWITCHOVER_MS = 5_000
"""How long a switchover may take, refusals included."""

CENTRE_MS = 12_000
"""How long it may take to compare and write the centre, or to show it..."""

IN_FORCE_S = 5.0
"""...and a change then to be what every shard decides by."""

PROMOTE_MS = 10_000
"""A journal is read, every member asked, the shard led: so long at most."""

POLL_S = 0.2
"""Between two looks while waiting for a state."""


class NoCluster(Exception):
    """There is no cluster where it was looked for; the text is the one line a person needs."""


class Cluster:
    """The nodes of one cluster, by its data directory or by the address of one node."""

    def __init__(self, client: ApiClient, data: Path | None, connect: str | None) -> None:
        self.client = client
        self.connect = connect
        self.directory = Directory(data) if data and not connect else None

    async def nodes(self) -> list[dict[str, Any]]:
        """The known nodes: name and api at least. Raises NoCluster, Unreachable, Refused."""
        if self.connect:
            try:
                answer = await self.client.read(self.connect, "status", timeout_ms=ANSWER_MS)
            except Unreachable as error:
                raise Unreachable(f"{self.connect}: {error}") from None
            # Where it listens, as it knows it, may not be reached from here; this is.
            peers = answer.get("peers", {}) | {answer["node"]["name"]: self.connect}
            return [{"name": name, "api": api} for name, api in sorted(peers.items())]
        assert self.directory
        known = self.directory.known_nodes()
        if not known:
            where = self.directory.path
            raise NoCluster(f"{where}: no cluster was started here; keepline up --data {where}")
        if any(node.get("tls") for node in known) and not self.client.is_secure:
            where = self.directory.path
            raise NoCluster(f"{where}: its nodes ask for a certificate: --tls DIR or KEEPLINE_TLS")
        return known + await self._joined({node["name"]: node["api"] for node in known})

    async def _joined(self, known: dict[str, str]) -> list[dict[str, Any]]:
        """Nodes that came later, as the first node to answer knows them."""
        asked = [
            asyncio.create_task(self.client.read(api, "nodes", timeout_ms=ANSWER_MS))
            for api in known.values()
        ]
        try:
            for answer in asyncio.as_completed(asked):
                with contextlib.suppress(Unreachable, Refused):
                    found: dict[str, str] = await answer
                    new = sorted(found.items() - known.items())
                    return [{"name": name, "api": api} for name, api in new if name not in known]
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return []

    async def addresses(self) -> dict[str, str]:
        return {node["name"]: node["api"] for node in await self.nodes()}

    async def each(self, what: str, *, call: str = "", limit: int = 0) -> dict[str, Any]:
        """Every node's document; None where a node does not answer."""
        return await self.client.read_each(
            await self.addresses(), what, call=call, limit=limit, timeout_ms=ANSWER_MS
        )

    async def status(self, timeout_ms: int = ANSWER_MS) -> dict[str, Any]:
        """The merged status. Raises NoCluster; with an address also Unreachable."""
        nodes = await self.nodes()
        addresses = {node["name"]: node["api"] for node in nodes}
        answers = await self.client.read_each(addresses, "status", timeout_ms=timeout_ms)
        return merge.status(nodes, answers)

    async def ready(self, timeout_ms: int) -> dict[str, Any]:
        """The status once the cluster takes calls. Raises NoCluster when that takes longer."""
        deadline = time.monotonic() + timeout_ms / 1_000
        while True:
            try:
                status = await self.status(timeout_ms=500)
                lacks = merge.missing(status)
                if not lacks:
                    return status
            except (NoCluster, Unreachable) as error:
                lacks = str(error)
            if time.monotonic() > deadline:
                raise NoCluster(f"not ready after {timeout_ms / 1_000:g} s: {lacks}")
            await asyncio.sleep(POLL_S)

    async def rows(self, what: str) -> list[dict[str, Any]]:
        """The merged rows of `calls`, `queues` or `agents`. Raises Unreachable."""
        answers = await self.each(what)
        if all(answer is None for answer in answers.values()):
            raise Unreachable("no node answers")
        return merge.rows(answers)

    async def history(self, what: str, *, call: str = "", limit: int = 0) -> list[dict[str, Any]]:
        """CDRs, events or failovers as a node reads them, else as the database has them.

        Raises Unreachable.
        """
        with contextlib.suppress(Unreachable):
            found = await self.client.first(
                await self.addresses(),
                lambda address: self.client.read(
                    address, what, call=call, limit=limit, timeout_ms=ANSWER_MS
                ),
            )
            return list(found)
        return self.stored(what, call=call, limit=limit)

    def stored(self, what: str, *, call: str, limit: int) -> list[dict[str, Any]]:
        """The rows as the database file has them, asking no node. Raises Unreachable."""
        if self.directory is None:
            raise Unreachable("no node answers")
        if not self.directory.events.exists():
            raise Unreachable("no node answers and there is no database of events")
        path = self.directory.events
        try:
            match what:
                case "cdr":
                    return events_db.read_cdr(path, call=call, limit=limit)
                case "failovers":
                    return events_db.read_failovers(path, limit=limit)
                case _:
                    return events_db.read_events(path, call=call, limit=limit)
        except sqlite3.Error as error:
            raise Unreachable(f"no node answers and {self.directory.events}: {error}") from None

    async def trace(self, call: str) -> dict[str, Any]:
        """A call's life in order: its events, and the messages each node saw. Raises Refused."""
        answers = [answer for answer in (await self.each("trace", call=call)).values() if answer]
        return merge.trace(call, answers, await self.history("events", call=call))

    async def drain(self, name: str, timeout_ms: int) -> Any:
        """Hand the shards of the node over. Raises Refused, Unreachable."""
        addresses = await self.addresses()
        if name not in addresses:
            raise Refused(f"no node {name!r}; known: {', '.join(addresses)}")
        try:
            return await self.client.drain(addresses[name], timeout_ms=timeout_ms)
        except NoAnswer as error:
            # What it led, others lead by now; it shall get nothing when it comes back.
            with contextlib.suppress(NoAnswer):
                return await self._of_any(
                    lambda api: self.client.drain(api, node=name, timeout_ms=0)
                )
            raise Unreachable(f"node {name}: {error}") from None
        except Unreachable as error:
            raise Unreachable(f"node {name}: {error}") from None

    async def undrain(self, name: str) -> Any:
        """Let the node take part again. Raises Refused, Unreachable."""
        return await self._of_any(lambda api: self.client.undrain(api, name, timeout_ms=ANSWER_MS))

    async def forget(self, name: str) -> Any:
        """Miss the node no more. Raises Refused, Unreachable."""
        return await self._of_any(lambda api: self.client.forget(api, name, timeout_ms=ANSWER_MS))

    async def _of_any(self, ask: Callable[[str], Awaitable[Any]]) -> Any:
        """What any node can do for all of them."""
        return await self.client.first(await self.addresses(), ask)

    async def switchover(self, shard: str, to: str) -> Any:
        """Hand the shard over, wherever it is active. Raises Refused, Unreachable."""
        try:
            return await self.client.first(
                await self.addresses(),
                lambda address: self.client.switchover(
                    address, shard, to, timeout_ms=SWITCHOVER_MS
                ),
            )
        except NotHere:
            raise Refused(f"no node leads shard {shard} now; see keepline status") from None

    async def apply(self, wanted: Wanted) -> dict[str, Any]:
        """Change the centre; `behind`: shards and nodes that do not go by it yet. Raises Refused,
        Unreachable."""
        document = await self.client.first(
            await self.addresses(),
            lambda address: self.client.apply(address, wanted, timeout_ms=CENTRE_MS),
        )
        behind = await self._behind(document["version"]) if document["changed"] else []
        return {**document, "behind": behind}

    async def _behind(self, version: int) -> list[str]:
        """Who goes by an older version, once it is nobody or IN_FORCE_S is over."""
        deadline = time.monotonic() + IN_FORCE_S
        while True:
            status = await self.status()
            behind = merge.behind(status, version)
            if not behind or time.monotonic() > deadline:
                return behind
            await asyncio.sleep(POLL_S)

    async def config(self, version: int) -> Any:
        """A version of the centre; 0: the one that stands. Raises Refused, Unreachable."""
        return await self._any("config", version)

    async def config_history(self) -> Any:
        """The versions of the centre that are kept. Raises Refused, Unreachable."""
        return await self._any("config_history")

    async def _any(self, what: str, version: int = 0) -> Any:
        return await self.client.first(
            await self.addresses(),
            lambda address: self.client.read(address, what, version=version, timeout_ms=CENTRE_MS),
        )

    async def promote(self, shard: str, node: str, *, yes: bool, read: str = "") -> Any:
        """What the node has of the shard, and with `yes` that it leads it. Raises Refused."""
        addresses = await self.addresses()
        if node not in addresses:
            raise Refused(f"no node {node!r}; known: {', '.join(addresses)}")
        try:
            return await self.client.promote(
                addresses[node], shard, yes=yes, read=read, timeout_ms=PROMOTE_MS
            )
        except Unreachable as error:
            raise Unreachable(f"node {node}: {error}") from None

    async def set_agent(self, agent: str, state: str, reason: str) -> Any:
        """Bring an agent into a state, wherever his shard is active. Raises Refused."""
        try:
            return await self.client.first(
                await self.addresses(),
                lambda address: self.client.set_agent(
                    address, agent, state, reason, timeout_ms=ANSWER_MS
                ),
            )
        except NotHere as refused:
            raise Refused(str(refused) or f"agent {agent}: no node decides for him now") from None


def wanted_change(file: Path | None, version: int, based_on: int, *, dry_run: bool) -> Wanted:
    """The change to ask for. Raises ConfigError: a wrong file is told whatever node is asked."""
    text = ""
    if file is not None:
        raw = read_file(file)
        read_centre(read_tree(raw, file))
        text = raw.decode()
    return Wanted(text, str(file or ""), version, based_on, dry_run, who())


def who() -> str:
    """The person at the terminal, for the history of the centre."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


@contextlib.asynccontextmanager
async def cluster(
    data: Path | None, connect: str | None, security: Security | None = None
) -> AsyncIterator[Cluster]:
    """The cluster, with its connections closed at the end."""
    client = ApiClient(security)
    try:
        yield Cluster(client, data, connect)
    finally:
        await client.close()
