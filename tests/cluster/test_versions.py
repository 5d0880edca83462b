"""A document with versions, on a real store with two who change it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cluster.io import versions
from cluster.io.sqlite import SqliteStore
from cluster.io.versions import (
    KEPT,
    MAX_BYTES,
    NotKnown,
    Overtaken,
    TooLarge,
    Unreadable,
    Version,
    Versions,
)
from cluster.store import Change, Outcome, Unknown

SEEN_S = 5.0


class Store(SqliteStore):
    """A store that may not say what it did."""

    forgets_to_say = False
    forgets_to_do = False

    async def cas_many(self, changes: "list[Change]") -> list[Outcome]:  # type: ignore[override]
        if self.forgets_to_do:
            return [Unknown()]
        outcomes = await super().cas_many(changes)
        return [Unknown()] if self.forgets_to_say else outcomes


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two clients of one store."""
    stores = Store(tmp_path / "store.db"), Store(tmp_path / "store.db")
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def test_a_change_names_the_version_it_was_made_for(two: tuple[Store, Store]) -> None:
    anna, ben = (Versions(store, "doc") for store in two)
    assert await anna.newest() is None
    assert await anna.all() == []
    first = await anna.write(b"a", after=0, by="anna", at_ms=1)
    assert first == Version(1, b"a", "anna", 1) == await ben.newest()
    with pytest.raises(Overtaken) as overtaken:
        await ben.write(b"b", after=0, by="ben", at_ms=2)
    assert overtaken.value.newest == first
    second = await ben.write(b"b", after=1, by="ben", at_ms=3)
    assert (await anna.newest(), await anna.all()) == (second, [second, first])
    assert await anna.find(1) == first
    assert await anna.find(2) == second
    assert await anna.find(3) is None


async def test_of_two_who_change_one_version_one_is_told_of_the_other(
    two: tuple[Store, Store],
) -> None:
    anna, ben = (Versions(store, "doc") for store in two)
    for n in range(20):
        results = await asyncio.gather(
            anna.write(b"a", after=n, by="anna", at_ms=n),
            ben.write(b"b", after=n, by="ben", at_ms=n),
            return_exceptions=True,
        )
        (won,) = (result for result in results if isinstance(result, Version))
        (lost,) = (result for result in results if isinstance(result, Overtaken))
        assert lost.newest == won
    kept = await anna.all()
    assert [version.number for version in kept] == list(range(20, 0, -1))


async def test_only_the_last_versions_are_kept(
    two: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT >= 100
    monkeypatch.setattr(versions, "KEPT", 3)
    store, _ = two
    document = Versions(store, "doc")
    for n in range(6):
        await document.write(b"%d" % n, after=n, by="", at_ms=0)
    assert [version.content for version in await document.all()] == [b"5", b"4", b"3"]
    assert list(await store.list("doc")) == ["doc", "doc/00000004", "doc/00000005"]


async def test_an_answer_that_was_lost_is_read_back(two: tuple[Store, Store]) -> None:
    store, other = two
    document = Versions(store, "doc")
    store.forgets_to_say = True
    assert (await document.write(b"a", after=0, by="", at_ms=0)).number == 1
    store.forgets_to_say, store.forgets_to_do = False, True
    with pytest.raises(NotKnown):
        await document.write(b"b", after=1, by="", at_ms=0)
    newest = await Versions(other, "doc").newest()
    assert newest is not None
    assert newest.content == b"a"
    # It is not known, and somebody else has written meanwhile: then it is not ours.

    async def others_first(changes: object) -> list[Outcome]:
        await Versions(other, "doc").write(b"c", after=1, by="ben", at_ms=0)
        return [Unknown()]

    store.cas_many = others_first  # type: ignore[method-assign]
    with pytest.raises(Overtaken) as overtaken:
        await document.write(b"b", after=1, by="", at_ms=0)
    assert overtaken.value.newest is not None
    assert overtaken.value.newest.by == "ben"


async def test_a_document_that_no_store_takes_is_refused_and_nothing_written(
    two: tuple[Store, Store],
) -> None:
    import random

    document = Versions(two[0], "doc")
    await document.write(b"a" * 20 * MAX_BYTES, after=0, by="", at_ms=0)  # it is packed
    with pytest.raises(TooLarge):
        await document.write(random.Random(1).randbytes(MAX_BYTES), after=1, by="", at_ms=0)
    assert list(await two[0].list("doc")) == ["doc"]


async def test_who_follows_is_told_what_stands_and_each_change(two: tuple[Store, Store]) -> None:
    anna, ben = (Versions(store, "doc") for store in two)

    async def told() -> Version | Unreadable | None:
        async with asyncio.timeout(SEEN_S):
            return await anext(news)

    async with aclosing(anna.follow()) as news:
        assert await told() is None
        first = await ben.write(b"a", after=0, by="", at_ms=0)
        assert await told() == first
        second = await ben.write(b"b", after=1, by="", at_ms=0)
        assert await told() == second  # and nothing of the version that was put beside
        await two[1].put("doc", b"not ours")
        assert isinstance(await told(), Unreadable)
    async with aclosing(anna.follow()) as news:
        assert isinstance(await told(), Unreadable)
    for ask in (anna.newest(), anna.all(), anna.find(1)):
        with pytest.raises(Unreadable):
            await ask
