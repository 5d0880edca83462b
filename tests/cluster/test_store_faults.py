"""Servers of a store are killed and hang in the middle: nothing is lost, doubled or guessed."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from cluster.io.etcd import EtcdStore
from cluster.store import (
    MEMBER_TTL_MS,
    Changed,
    ListAnew,
    Lost,
    Store,
    StoreAway,
    Unknown,
    Won,
)
from tests.cluster.attending import store_at
from tests.cluster.hosts import until
from tests.cluster.stores import EtcdServers, Servers, ZooKeeperServers, served

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
DEADLINE_S = 0.4
LATE_S = 0.4
"""So much later than its deadline may a call end on a loaded machine."""
BACK_S = 40.0
"""A store with a majority of its members works again within this, whatever happened."""
STEPS = 20
"""So many changes are made between two faults."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    with served(EtcdServers(tmp_path_factory.mktemp("etcd"), 1)) as servers:
        yield servers


@pytest.fixture(scope="module")
def etcd3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    with served(EtcdServers(tmp_path_factory.mktemp("etcd3"), 3)) as servers:
        yield servers


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServers]:
    with served(ZooKeeperServers(tmp_path_factory.mktemp("zookeeper"), 1)) as servers:
        yield servers


@pytest.fixture(scope="module")
def zookeeper3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServers]:
    with served(ZooKeeperServers(tmp_path_factory.mktemp("zookeeper3"), 3)) as servers:
        yield servers


@pytest.fixture(params=["etcd", "zookeeper"])
def one(request: pytest.FixtureRequest) -> Servers:
    """A store of one server."""
    servers: Servers = request.getfixturevalue(request.param)
    return servers


@pytest.fixture(params=["etcd3", "zookeeper3"])
def three(request: pytest.FixtureRequest) -> Servers:
    """A store of three servers."""
    servers: Servers = request.getfixturevalue(request.param)
    return servers


@asynccontextmanager
async def client(
    servers: Servers, prefix: Path, notes: list[str] | None = None
) -> AsyncIterator[Store]:
    def note(what: str, **fields: object) -> None:
        if notes is not None:
            notes.append(what)

    store = servers.client(prefix.name, timeout=DEADLINE_S, note=note)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def read(store: Store, key: str) -> tuple[int, bytes | None]:
    """As soon as the store answers."""
    end = time.monotonic() + BACK_S
    while True:
        with suppress(StoreAway):
            return await store.read(key)
        assert time.monotonic() < end, "the store does not come back"
        await asyncio.sleep(0.02)


async def change(store: Store, key: str, rev: int, value: bytes) -> tuple[int, int]:
    """Put `value` in place of what stands at `rev`, as `cluster.key_change` does.

    The new revision, and how often the outcome was unknown.
    """
    unknown = 0
    while True:
        match await store.cas(key, rev, value):
            case Won(won):
                return won, unknown
            case Lost(stands, found):
                assert found == value, f"{found!r} instead of {value!r}"
                return stands, unknown
            case Unknown():
                unknown += 1
                stands, found = await read(store, key)
                if found == value:
                    return stands, unknown
                assert stands == rev


async def test_while_its_server_hangs_every_call_ends_in_time_and_nothing_is_guessed(
    one: Servers, tmp_path: Path
) -> None:
    async with client(one, tmp_path) as store:
        won = await store.cas("k", 0, b"a")
        assert isinstance(won, Won)
        one.stop(0)
        try:
            began = time.monotonic()
            assert await store.cas("k", won.rev, b"b") == Unknown()
            assert time.monotonic() - began < DEADLINE_S + LATE_S
            for call in (store.read("k"), store.list("k"), store.put("p", b""), store.members()):
                began = time.monotonic()
                with pytest.raises(StoreAway):
                    await call
                assert time.monotonic() - began < DEADLINE_S + LATE_S
            assert store.silent_ms() > DEADLINE_S * 1000
        finally:
            one.resume(0)
        stands, value = await read(store, "k")
        assert value in (b"a", b"b")  # it may even have been stored since
        rev, _ = await change(store, "k", won.rev, b"b")
        assert await read(store, "k") == (rev, b"b")
        assert stands in (won.rev, rev)
        assert store.silent_ms() == 0


async def test_a_change_whose_server_was_killed_is_read_back_and_made_once(
    one: Servers, tmp_path: Path
) -> None:
    notes: list[str] = []
    async with client(one, tmp_path, notes) as store:
        won = await store.cas("k", 0, b"a")
        assert isinstance(won, Won)
        one.stop(0)  # so that it is killed in the middle
        outcome = asyncio.create_task(store.cas("k", won.rev, b"b"))
        await asyncio.sleep(0)
        one.kill(0)
        assert await outcome == Unknown()
        with pytest.raises(StoreAway, match="refused"):
            await store.read("k")
        await asyncio.to_thread(one.start, 0)
        assert await read(store, "k") == (won.rev, b"a")
        rev, _ = await change(store, "k", won.rev, b"b")
        assert await read(store, "k") == (rev, b"b")
        assert notes == ["store away", "store back"]


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_while_members_fail_one_after_another_every_change_is_made_and_told_once(
    three: Servers, how: str, tmp_path: Path
) -> None:
    """By whom it is told, and by whom it is made, is each connected to any of them."""
    done = 0
    last = 0
    over = asyncio.Event()
    revs = [0]
    told: list[int] = []

    async def write(store: Store) -> None:
        nonlocal done
        while not over.is_set():
            rev, _ = await change(store, "a/k", revs[-1], str(done + 1).encode())
            revs.append(rev)
            done += 1

    async def follow(store: Store, listening: asyncio.Event) -> None:
        async with aclosing(store.watch("a/")) as watch:
            async for event in watch:
                if isinstance(event, ListAnew):
                    listening.set()
                    continue
                assert event.value is not None
                told.append(int(event.value))
                if told[-1] == last:
                    return

    async with client(three, tmp_path) as one, client(three, tmp_path) as two:
        listening = asyncio.Event()
        following = asyncio.create_task(follow(two, listening))
        await asyncio.wait_for(listening.wait(), BACK_S)
        writing = asyncio.create_task(write(one))
        for member in three.members:
            await asyncio.to_thread(three.kill if how == "killed" else three.stop, member)
            try:
                before = done
                await until(lambda n=before: done >= n + STEPS or writing.done(), BACK_S)  # type: ignore[misc]
            finally:
                await asyncio.to_thread(three.start if how == "killed" else three.resume, member)
            await until(lambda n=done: done >= n + STEPS or writing.done(), BACK_S)  # type: ignore[misc]
        over.set()
        await writing
        last = done + 1
        rev, _ = await change(one, "a/k", revs[-1], str(last).encode())
        await asyncio.wait_for(following, BACK_S)
        assert await read(two, "a/k") == (rev, str(last).encode())
        assert revs == sorted(set(revs))
        assert told == sorted(set(told))
        if three.kind == "etcd":  # ZooKeeper tells the newest only
            assert told == list(range(1, last + 1))


async def test_the_leader_dies_and_changes_are_soon_made_again(
    three: Servers, tmp_path: Path
) -> None:
    async with client(three, tmp_path) as store:
        rev, _ = await change(store, "k", 0, b"a")
        leader = three.leader()
        three.kill(leader)
        began = time.monotonic()
        rev, _ = await change(store, "k", rev, b"b")
        took_s = time.monotonic() - began
        await asyncio.to_thread(three.start, leader)
        assert await read(store, "k") == (rev, b"b")
        assert took_s < BACK_S


async def test_what_the_store_forgot_while_it_was_not_reached_is_said_so(
    etcd3: EtcdServers, tmp_path: Path
) -> None:
    """ZooKeeper keeps no history: there, all is looked at each time."""
    three = etcd3
    async with client(three, tmp_path) as writer:
        alone = EtcdStore(endpoints=three.endpoints[:1], prefix=tmp_path.name)
        await alone.open()
        try:
            async with aclosing(alone.watch("")) as watch:
                assert await anext(watch) == ListAnew()
                await writer.put("k", b"1")
                assert (await anext(watch)) == Changed("k", (await read(writer, "k"))[0], b"1")
                await asyncio.to_thread(three.kill, 0)
                rev, _ = await read(writer, "k")
                for n in range(5):
                    rev, _ = await change(writer, "k", rev, str(n).encode())
                await asyncio.to_thread(three.post, 1, "kv/compaction", revision=rev)
                await asyncio.to_thread(three.start, 0)
                async with asyncio.timeout(BACK_S):
                    assert await anext(watch) == ListAnew()
                rev, _ = await change(writer, "k", rev, b"new")
                async with asyncio.timeout(BACK_S):
                    assert await anext(watch) == Changed("k", rev, b"new")
        finally:
            await alone.close()


async def test_who_was_killed_is_no_member_after_a_few_seconds_and_who_lives_is(
    etcd: EtcdServers, zookeeper: ZooKeeperServers, tmp_path: Path
) -> None:
    urls = [f"sqlite://{tmp_path / 'store.db'}", *(s.url("members") for s in (etcd, zookeeper))]
    await asyncio.gather(*(living_and_killed(url) for url in urls))


async def living_and_killed(url: str) -> None:
    store = store_at(url)
    await store.open()
    words = ("-m", "tests.cluster.attending", url, "killed")
    killed = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
    try:
        store.attend("living", b"")
        await members_are(store, {"living", "killed"}, BACK_S)
    finally:
        killed.kill()
        await killed.wait()
    began = time.monotonic()
    await members_are(store, {"living"}, MEMBER_TTL_MS / 1000 + 4)
    assert time.monotonic() - began > 2
    await store.close()


async def members_are(store: Store, wanted: set[str], within_s: float) -> None:
    end = time.monotonic() + within_s
    while (found := set(await store.members())) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)
