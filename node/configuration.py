"""The centre in the store: what stands, who changed it when, and how the next version comes to be.

A change is made of a whole file and refused whole: nothing is written unless all of it may follow
what stands. The file's place of a fault is told where there is a file.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from calls.acceptable import Conflict, successor
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
from gateway_mgmt.plan import shard_of
from node import beside
from node.api import Refused, Wanted
from node.events_db import at

KEY = "configuration/centre"
AGAIN_MS = 100
BY_MAX = 200
"""Characters that are kept of whoever made a version."""

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

    async def write(
        self,
        centre: Centre,
        *,
        after: int,
        by: str,
        counts: Mapping[str, int] = MappingProxyType({}),
    ) -> Stored:
        """`counts`: what it changes. Raises Overtaken, TooLarge, NotKnown."""
        content = msgspec.json.encode(centre)
        version = await self._versions.write(
            content, after=after, by=by[:BY_MAX], at_ms=wall_ms(), about=counts
        )
        return read(version)

    async def first(self, centre: Callable[[], Centre], *, by: str) -> Stored:
        """What stands; where nothing does, the first version is `centre()`.

        Raises StoreAway when the store has not answered for START_MS.
        """
        until_ms = now_ms() + START_MS
        while True:
            try:
                found = await self.newest()
                if found is None:
                    first = centre()
                    return await self.write(first, after=0, by=by, counts=beside.all_new(first))
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

    async def closed(self, centre: Centre) -> Sequence[str]:
        """The shards of what `centre` is closing of which nothing is left."""
        closing = (*centre.closing, *map(shard_of, centre.closing_sites))
        return [name for name in closing if await self.is_closed(name)]

    async def change(self, wanted: Wanted, check: Check) -> dict[str, Any]:
        """Make the next version, or tell what it would change. Raises Refused."""
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
        except beside.Failed as error:
            raise Refused(f"the centres could not be compared: {error}") from None
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
        closed = await self.closed(stands.centre)
        back = None if wanted.text else (await self._find(wanted.version)).centre
        found = await beside.compared(
            beside.Compare(
                stands=stands.centre,
                closed=closed,
                text=wanted.text,
                file=wanted.file,
                back=None if back is None else replace(back, closing={}, closing_sites=()),
            )
        )
        if found.error:
            raise Refused(found.error)
        assert found.centre is not None
        in_the_way = await check(stands.centre, found.centre)
        if in_the_way is not None:
            field = ".".join(in_the_way.path)
            raise Refused(f"{found.places.get(field, field)}: {in_the_way.why}")
        version = stands.number
        if any(found.counts.values()) and not wanted.dry_run:
            fresh = successor(stands.centre, found.centre, closed=closed)
            version = await self._next(fresh, stands, wanted.by, found.counts)
        return {
            "version": version,
            "changed": version != stands.number,
            "changes": found.changes,
        }

    async def _next(
        self, centre: Centre, stands: Stored, by: str, counts: Mapping[str, int]
    ) -> int:
        try:
            stored = await self.write(centre, after=stands.number, by=by, counts=counts)
        except Overtaken as overtaken:
            newest = overtaken.newest
            who = "another one" if newest is None else read(newest).origin
            raise Refused(
                f"{who} came first; see keepline diff, and apply again if it is still right"
            ) from None
        log.info("centre changed", version=stored.number, by=stored.by, **counts)
        return stored.number

    async def _find(self, number: int) -> Stored:
        try:
            found = await (self._versions.find(number) if number else self._versions.newest())
            if found is not None:
                return read(found)
        except Unreadable as error:
            raise Refused(f"the centre in the store cannot be read: {error}") from None
        raise Refused(f"there is no version {number}; see keepline config history")

    async def show(self, number: int) -> dict[str, Any]:
        """That version (0: the newest), as a document and as a file. Raises Refused."""
        try:
            stored = await self._find(number)
            written = await beside.written(beside.Write(stored.centre))
        except StoreAway:
            raise Refused("the store does not answer") from None
        except beside.Failed as error:
            raise Refused(f"the centre could not be written: {error}") from None
        return {
            "version": stored.number,
            "by": stored.by,
            "at": at(stored.at_ms),
            "centre": written.centre,
            "closing": sorted(stored.centre.closing),
            "closing_sites": sorted(stored.centre.closing_sites),
            "file": written.file,
        }

    async def history(self) -> list[dict[str, Any]]:
        """The kept versions, the newest first, and how much each changed. Raises Refused."""
        try:
            found = await self._versions.all()
        except Unreadable as error:
            raise Refused(f"the centre in the store cannot be read: {error}") from None
        except StoreAway:
            raise Refused("the store does not answer") from None
        return [
            {"version": version.number, "by": version.by, "at": at(version.at_ms)}
            | {how: version.about.get(how) for how in ("added", "changed", "removed")}
            for version in found
        ]

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
