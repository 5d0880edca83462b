"""A document in the store that has versions: whoever changes it names the version he has seen.

The newest stands in one key and is replaced by compare-and-set, so of two who change one version
one is told of the other. Before it is replaced it is put beside, under its number: whoever replaces
it puts the same bytes there. No number is given twice, and what a number holds never changes.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from types import MappingProxyType

import msgspec

from cluster.store import Changed, Store, StoreAway, Unknown, Won

KEPT = 100
"""So many versions can be read, the newest included."""
MAX_BYTES = 1_000_000
"""Of one version as it is stored: what every store takes in one value."""
READ_AGAIN_MS = 250


class Version(msgspec.Struct, frozen=True):
    """One state of the document."""

    number: int
    content: bytes
    by: str
    """Who made it so."""
    at_ms: int
    """When: Unix time in ms."""
    about: dict[str, int] = {}
    """What he says of it in figures."""


class Overtaken(Exception):
    """The document is at another version than the change was made for."""

    def __init__(self, newest: Version | None) -> None:
        super().__init__(f"version {newest.number if newest else 0} stands")
        self.newest = newest


class Unreadable(Exception):
    """What stands in the store is no version of a document that this version of keepline knows."""


class TooLarge(Exception):
    """The document does not fit into a value of a store."""


class NotKnown(StoreAway):
    """The store did not say whether it wrote the change, and has not written it yet."""


class Versions:
    """The document under `key`. Every call may raise StoreAway."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key

    async def newest(self) -> Version | None:
        """None: there has been none yet. Raises Unreadable."""
        return _decode((await self._store.read(self._key))[1])

    async def find(self, number: int) -> Version | None:
        """That version, while it is kept. Raises Unreadable."""
        newest = await self.newest()
        if newest is None or newest.number == number:
            return newest
        return _decode((await self._store.read(self._before(number)))[1])

    async def all(self) -> list[Version]:
        """Those that are kept, the newest first. Raises Unreadable."""
        newest = await self.newest()
        if newest is None:
            return []
        values = (await self._store.list(f"{self._key}/")).values()
        before = await asyncio.to_thread(lambda: [_decode(value) for value in values])
        found = {version.number: version for version in before if version is not None}
        found[newest.number] = newest
        return [found[number] for number in sorted(found, reverse=True)][:KEPT]

    async def write(
        self,
        content: bytes,
        *,
        after: int,
        by: str,
        at_ms: int,
        about: Mapping[str, int] = MappingProxyType({}),
    ) -> Version:
        """The version after number `after` (0: the first one).

        Raises Overtaken, TooLarge; NotKnown: it may still come to stand. Nothing is written
        otherwise.
        """
        rev, value = await self._store.read(self._key)
        newest = _decode(value)
        if (newest.number if newest else 0) != after:
            raise Overtaken(newest)
        fresh = Version(after + 1, content, by, at_ms, dict(about))
        encoded = await asyncio.to_thread(_encode, fresh)
        if len(encoded) > MAX_BYTES:
            raise TooLarge
        if value is not None:
            await self._store.put(self._before(after), value)
        outcome = await self._store.cas(self._key, rev, encoded)
        if isinstance(outcome, Unknown):
            await self._read_back(rev, encoded)
        elif not isinstance(outcome, Won):
            raise Overtaken(_decode(outcome.value))
        with suppress(StoreAway):  # one more is kept then
            await self._store.delete(self._before(after + 1 - KEPT))
        return fresh

    async def _read_back(self, rev: int, encoded: bytes) -> None:
        """Was it written? Never repeated blindly: whoever asked is told, and may look."""
        try:
            now, value = await self._store.read(self._key)
        except StoreAway:
            raise NotKnown from None
        if value == encoded:
            return
        if now == rev:
            raise NotKnown
        raise Overtaken(_decode(value))

    async def follow(self) -> AsyncGenerator[Version | Unreadable | None, None]:
        """What stands now (None: nothing yet), then each change; a quick one may be left out."""
        async with aclosing(self._store.watch(self._key)) as changes:
            async for change in changes:
                if not isinstance(change, Changed):
                    yield await self._read()
                elif change.key == self._key:
                    yield _read(change.value)

    async def _read(self) -> Version | Unreadable | None:
        while True:
            with suppress(StoreAway):
                return _read((await self._store.read(self._key))[1])
            await asyncio.sleep(READ_AGAIN_MS / 1000)

    def _before(self, number: int) -> str:
        return f"{self._key}/{number:08}"


def _encode(version: Version) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(version))


def _read(value: bytes | None) -> Version | Unreadable | None:
    try:
        return _decode(value)
    except Unreadable as error:
        return error


def _decode(value: bytes | None) -> Version | None:
    if value is None:
        return None
    try:
        return msgspec.msgpack.decode(zlib.decompress(value), type=Version)
    except (zlib.error, msgspec.DecodeError) as error:
        raise Unreadable(str(error)) from None
