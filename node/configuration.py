"""The centre in the store: what stands, who changed it when, and how the next version comes to be.

A change is made of a whole file and refused whole: nothing is written unless all of it may follow
what stands. The file's place of a fault is told where there is a file.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from calls.acceptable import Conflict, conflict, successor
from calls.centre import Centre
from cluster.io.clock import now_ms, wall_ms
from cluster.io.nodes import START_MS
from cluster.io.versions import (
    MAX_BYTES,
    NotKnown,
    Overtaken,
    TooLarge,
    Unreadable,
    Version,
    Versions,
)
from cluster.process import shard_key
from cluster.store import Store, StoreAway, StoreRefused, decode_key
from node.api import Refused, Wanted
from node.centre_file import as_file, as_yaml
from node.config import ConfigError, read_centre
from node.difference import changes
from node.events_db import at
from node.yaml_tree import Tree, read_tree

KEY = "configuration/centre"
AGAIN_MS = 100

log = structlog.get_logger()

_decoder = msgspec.json.Decoder(Centre)


class Stored(NamedTuple):
    """A version of the centre."""

    number: int
    centre: Centre
    by: str
    at_ms: int

    @property
    def origin(self) -> str:
        """For a person: who made it so, and when."""
        return f"version {self.number}, by {self.by}, {at(self.at_ms)}"


Check = Callable[[Centre, Centre], Awaitable[Conflict | None]]
"""(what stands, what is wanted): what else is in its way."""


def read(version: Version) -> Stored:
    """Raises Unreadable."""
    try:
        centre = _decoder.decode(version.content)
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)) from None
    return Stored(version.number, centre, version.by, version.at_ms)


class Configuration:
    """The versions of the centre in a store. What asks the store may raise StoreAway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions = Versions(store, KEY)

    async def newest(self) -> Stored | None:
        """Raises StoreRefused when it cannot be read."""
        try:
            found = await self._versions.newest()
            return None if found is None else read(found)
        except Unreadable as error:
            raise StoreRefused(f"the centre in the store cannot be read: {error}") from None

    async def all(self) -> list[Stored]:
        """Those that are kept, the newest first. Raises StoreRefused."""
        try:
            return [read(version) for version in await self._versions.all()]
        except Unreadable as error:
            raise StoreRefused(f"the centre in the store cannot be read: {error}") from None

    async def write(self, centre: Centre, *, after: int, by: str) -> Stored:
        """Raises Overtaken, TooLarge, NotKnown."""
        content = msgspec.json.encode(centre)
        return read(await self._versions.write(content, after=after, by=by, at_ms=wall_ms()))

    async def first(self, centre: Callable[[], Centre], *, by: str) -> Stored:
        """What stands; where nothing does, the first version is `centre()`.

        Raises StoreAway when the store has not answered for START_MS.
        """
        until_ms = now_ms() + START_MS
        while True:
            try:
                found = await self.newest()
                if found is None:
                    return await self.write(centre(), after=0, by=by)
            except Overtaken:
                continue  # another node was first
            except StoreAway:
                if now_ms() > until_ms:
                    raise
                await asyncio.sleep(AGAIN_MS / 1000)
            else:
                return found

    async def is_closed(self, shard: str) -> bool:
        """Is nothing left of a shard that was removed?"""
        _, value = await self._store.read(shard_key(shard))
        try:
            key = decode_key(value)
        except msgspec.DecodeError:
            return False
        return key is None or bool(key.closed)

    async def closed(self, centre: Centre) -> Container[str]:
        """The shards of `centre.closing` of which nothing is left."""
        return [name for name in centre.closing if await self.is_closed(name)]

    async def change(self, wanted: Wanted, check: Check) -> dict[str, Any]:
        """Make the next version, or tell what it would change. Raises Refused, ConfigError."""
        try:
            return await self._change(wanted, check)
        except NotKnown:
            raise Refused(
                "the store has not said whether it wrote the change; see keepline config history"
            ) from None
        except StoreAway:
            raise Refused("the store does not answer; nothing was changed") from None
        except StoreRefused as error:
            raise Refused(str(error)) from None
        except TooLarge:
            raise Refused(f"the centre takes more than {MAX_BYTES} bytes in the store") from None

    async def _change(self, wanted: Wanted, check: Check) -> dict[str, Any]:
        stands = await self.newest()
        if stands is None:
            raise Refused("there is no centre in the store yet")
        if wanted.based_on and wanted.based_on != stands.number:
            raise Refused(
                f"the change was made for version {wanted.based_on}, and {stands.origin} stands"
            )
        tree, centre = await self._wanted(wanted)
        closed = await self.closed(stands.centre)
        found = conflict(stands.centre, centre, closed=closed) or await check(stands.centre, centre)
        if found is not None:
            raise complaint(found, tree)
        differs = changes(stands.centre, centre)
        version = stands.number
        if differs and not wanted.dry_run:
            fresh = successor(stands.centre, centre, closed=closed)
            try:
                version = (await self.write(fresh, after=version, by=wanted.by)).number
            except Overtaken as overtaken:
                newest = overtaken.newest
                who = "another one" if newest is None else read(newest).origin
                raise Refused(
                    f"{who} came first; see keepline diff, and apply again if it is still right"
                ) from None
            log.info("centre changed", version=version, by=wanted.by, changes=len(differs))
        return {"version": version, "changed": version != stands.number, "changes": differs}

    async def _wanted(self, wanted: Wanted) -> tuple[Tree | None, Centre]:
        if wanted.text:
            tree = read_tree(wanted.text.encode(), Path(wanted.file))
            return tree, read_centre(tree)
        return None, replace((await self._find(wanted.version)).centre, closing={})

    async def _find(self, number: int) -> Stored:
        for stored in await self.all():
            if number in (0, stored.number):
                return stored
        raise Refused(f"there is no version {number}; see keepline config history")

    async def show(self, number: int) -> dict[str, Any]:
        """That version (0: the newest), as a document and as a file. Raises Refused."""
        try:
            found = await self._find(number)
        except (StoreAway, StoreRefused) as error:
            raise Refused(str(error) or "the store does not answer") from None
        return {
            "version": found.number,
            "by": found.by,
            "at": at(found.at_ms),
            "centre": as_file(found.centre),
            "closing": sorted(found.centre.closing),
            "file": as_yaml(found.centre),
        }

    async def history(self) -> list[dict[str, Any]]:
        """The kept versions, the newest first, and how much each changed. Raises Refused."""
        try:
            found = await self.all()
        except (StoreAway, StoreRefused) as error:
            raise Refused(str(error) or "the store does not answer") from None
        rows = []
        for place, stored in enumerate(found):
            before = found[place + 1].centre if place + 1 < len(found) else None
            known = before is not None or stored.number == 1
            counted = dict.fromkeys(("added", "changed", "removed"), 0)
            for change in changes(before, stored.centre) if known else ():
                counted[change["change"]] += 1
            row = {"version": stored.number, "by": stored.by, "at": at(stored.at_ms)}
            rows.append(row | (counted if known else dict.fromkeys(counted)))
        return rows

    async def follow(self) -> AsyncGenerator[Stored | Unreadable, None]:
        """What stands, and each change."""
        async with aclosing(self._versions.follow()) as news:
            async for found in news:
                if isinstance(found, Unreadable):
                    yield found
                elif found is not None:
                    try:
                        yield read(found)
                    except Unreadable as error:
                        yield error


def complaint(found: Conflict, tree: Tree | None) -> ConfigError | Refused:
    """What is in a change's way, with its place in the file if there is one."""
    if tree is None:
        return Refused(f"{'.'.join(found.path)}: {found.why}")
    return tree.wrong_at(found.path, found.why)
