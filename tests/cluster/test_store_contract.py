"""What every store promises, on each kind of store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from cluster.io.sqlite import SqliteStore
from cluster.store import Change, Changed, ListAnew, Lost, Store, StoreAway, Unknown, Won
from tests.cluster.stores import EtcdServers, ZooKeeperServers, served

pytestmark = pytest.mark.real

SEEN_S = 5.0
"""What was changed is told, and what was asked is answered, within this."""
MANY = 300
"""More keys than one transaction of etcd holds."""

Open = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    with served(EtcdServers(tmp_path_factory.mktemp("etcd"), 1)) as servers:
        yield servers


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServers]:
    with served(ZooKeeperServers(tmp_path_factory.mktemp("zookeeper"), 1)) as servers:
        yield servers


@pytest.fixture(params=["sqlite", "etcd", "zookeeper"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a store, each time another client of the same, which is empty at first."""
    servers = None if request.param == "sqlite" else request.getfixturevalue(request.param)

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        store: Store = SqliteStore(tmp_path / "store.db")
        if servers is not None:
            store = servers.client(tmp_path.name, timeout=SEEN_S)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return open_store


async def test_only_who_knows_the_revision_changes_a_key(opened: Open) -> None:
    async with opened() as one, opened() as two:
        assert await one.read("k") == (0, None)
        first = await one.cas("k", 0, b"a")
        assert isinstance(first, Won)
        assert await two.cas("k", 0, b"b") == Lost(first.rev, b"a")
        assert await two.cas("k", first.rev + 1, b"b") == Lost(first.rev, b"a")
        second = await two.cas("k", first.rev, b"b")
        assert isinstance(second, Won)
        assert second.rev > first.rev > 0
        assert await one.read("k") == (second.rev, b"b")
        assert await one.cas("absent", first.rev, b"c") == Lost(0, None)


async def test_of_two_who_try_at_once_one_wins(opened: Open) -> None:
    async with opened() as one, opened() as two:
        rev = 0
        for _ in range(20):
            answers = await asyncio.gather(one.cas("k", rev, b"1"), two.cas("k", rev, b"2"))
            (won,) = (answer for answer in answers if isinstance(answer, Won))
            (lost,) = (answer for answer in answers if isinstance(answer, Lost))
            assert lost == Lost(won.rev, b"1" if answers[0] == won else b"2")
            rev = won.rev


async def test_each_of_many_changes_wins_or_loses_by_itself(opened: Open) -> None:
    async with opened() as store:
        keys = [f"k{n}" for n in range(MANY)]
        first = await store.cas_many([Change(key, 0, b"1") for key in keys])
        revs = [answer.rev for answer in first if isinstance(answer, Won)]
        assert len(revs) == MANY
        stale = [n for n in range(MANY) if n % 3 == 0]
        second = await store.cas_many(
            [Change(key, 0 if n in stale else revs[n], b"2") for n, key in enumerate(keys)]
        )
        found = await store.read_many(["absent", *keys])
        assert found[0] == (0, None)
        for n, (outcome, (rev, value)) in enumerate(zip(second, found[1:], strict=True)):
            if n in stale:
                assert (outcome, value) == (Lost(revs[n], b"1"), b"1")
            else:
                assert (outcome, value) == (Won(rev), b"2")
        assert await store.cas_many([]) == []
        assert await store.read_many([]) == []


async def test_keys_are_listed_by_prefix_and_can_be_removed(opened: Open) -> None:
    async with opened() as store:
        for key in ("a/2", "a/1", "b/1", "a", "a%/\u00e4:1 \u2013"):
            await store.put(key, key.encode())
        assert await store.list("a/") == {"a/1": b"a/1", "a/2": b"a/2"}
        assert list(await store.list("a")) == ["a", "a%/\u00e4:1 \u2013", "a/1", "a/2"]
        await store.put("a/1", b"")
        await store.delete("a/2")
        await store.delete("absent")
        assert await store.list("a/") == {"a/1": b""}
        assert await store.read("a/2") == (0, None)


async def test_who_watches_is_told_of_every_change_under_the_prefix_once(opened: Open) -> None:
    async with opened() as one, opened() as two, aclosing(one.watch("a/")) as watch:
        await two.put("a/before", b"")
        assert await anext(watch) == ListAnew()
        told: list[Changed | ListAnew] = []
        for n in range(3):
            won = await two.cas(f"a/{n}", 0, b"x")
            assert isinstance(won, Won)
            await two.put("b", b"")
            async with asyncio.timeout(SEEN_S):
                told.append(await anext(watch))
            assert told[-1] == Changed(f"a/{n}", won.rev, b"x")
        await one.put("a/0", b"y")
        async with asyncio.timeout(SEEN_S):
            assert await anext(watch) == Changed("a/0", (await two.read("a/0"))[0], b"y")
        await two.delete("a/1")
        async with asyncio.timeout(SEEN_S):
            assert await anext(watch) == Changed("a/1", 0, None)


async def test_a_list_and_what_is_told_after_it_are_the_whole_truth(opened: Open) -> None:
    """However many write meanwhile."""
    async with opened() as reader, opened() as one, opened() as two:

        async def write(store: Store, name: str) -> None:
            for n in range(40):
                await store.put(f"a/{name}{n % 7}", f"{n}".encode())
                if n % 5 == 0:
                    await store.delete(f"a/{name}{n % 3}")

        known: dict[str, bytes] = {}
        newest: dict[str, int] = {}

        async def follow() -> None:
            async with aclosing(reader.watch("a/")) as watch:
                async for told in watch:
                    match told:
                        case ListAnew():
                            known.clear()
                            known.update(await reader.list("a/"))
                        case Changed(key, _, None):
                            known.pop(key, None)
                        case Changed(key, _, value):
                            assert value is not None
                            assert int(value) > newest.get(key, -1)  # in order, and none twice
                            known[key], newest[key] = value, int(value)
                    if known.get("a/end1") and known.get("a/end2"):
                        return

        following = asyncio.create_task(follow())
        await asyncio.gather(write(one, "one"), write(two, "two"))
        await one.put("a/end1", b"1")
        await two.put("a/end2", b"2")
        async with asyncio.timeout(SEEN_S):
            await following
        assert known == await one.list("a/")


async def test_a_node_is_among_the_members_until_it_leaves(opened: Open) -> None:
    async with opened() as one, opened() as three:
        async with opened() as two:
            one.attend("n1", b"first")
            two.attend("n2", b"second")
            await members_are(three, {"n1": b"first", "n2": b"second"})
        await members_are(three, {"n1": b"first"})
        async with opened() as again:  # a later process of the same name
            again.attend("n1", b"later")
            await members_are(three, {"n1": b"later"})
            assert await three.list("n") == {}


async def members_are(store: Store, wanted: dict[str, bytes]) -> None:
    end = time.monotonic() + SEEN_S
    while (found := await store.members()) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


async def test_a_closed_store_is_away_and_can_be_closed_again(opened: Open) -> None:
    async with opened() as store:
        pass
    await store.close()
    with pytest.raises(StoreAway):
        await store.read("k")
    with pytest.raises(StoreAway):
        await store.members()
    assert await store.cas("k", 0, b"") == Unknown()
    assert store.silent_ms() >= 0
