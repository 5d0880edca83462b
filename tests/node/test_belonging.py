"""Whose store it is: a cluster goes on with its own, and with none that forgot it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.io.sqlite import SqliteStore
from cluster.store import Store
from node.belonging import CLUSTER_KEY, Stranger, belong
from node.directory import Directory, DirectoryError


@asynccontextmanager
async def store(folder: Path, name: str = "store") -> AsyncIterator[Store]:
    opened = SqliteStore(folder / f"{name}.db")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


def directory(folder: Path, name: str) -> Directory:
    made = Directory(folder / name)
    made.prepare()
    return made


async def until(fact: Callable[[], Awaitable[Any]]) -> None:
    end = time.monotonic() + 5
    while not await fact():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_the_first_node_founds_a_cluster_and_the_others_join_it(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        folders = [directory(tmp_path, name) for name in "abc"]
        found = await asyncio.gather(*(belong(one, "here", folder) for folder in folders))
        assert len(set(found)) == 1
        assert (await one.read(CLUSTER_KEY))[1] == found[0].encode()
        again = [await belong(one, "here", folder) for folder in folders]
        assert again == found


async def test_many_nodes_of_one_directory_found_one_cluster(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        found = [belong(one, "here", directory(tmp_path, "a")) for _ in range(5)]
        assert len(set(await asyncio.gather(*found))) == 1
        assert (
            await belong(one, "here", directory(tmp_path, "a"))
            == ((await one.read(CLUSTER_KEY))[1] or b"").decode()
        )


async def test_another_clusters_store_is_refused_and_both_are_named(tmp_path: Path) -> None:
    async with store(tmp_path, "ours") as ours, store(tmp_path, "theirs") as theirs:
        here = directory(tmp_path, "here")
        our_id = await belong(ours, "ours", here)
        their_id = await belong(theirs, "theirs", directory(tmp_path, "there"))
        with pytest.raises(Stranger) as refused:
            await belong(theirs, "etcd://x:1/keepline", here)
        assert str(refused.value) == (
            f"etcd://x:1/keepline holds cluster {their_id}, but {here.path} belongs to cluster "
            f"{our_id}: use another prefix, or another data directory"
        )
        assert await belong(ours, "ours", here) == our_id


async def test_a_store_that_was_emptied_is_refused(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        here = directory(tmp_path, "here")
        await belong(one, "here", here)
        await one.delete(CLUSTER_KEY)
        with pytest.raises(Stranger, match=r"holds no cluster, but .* belongs to cluster"):
            await belong(one, "here", here)
        assert await one.read(CLUSTER_KEY) == (0, None)


async def test_an_empty_directory_that_is_a_whole_cluster_joins_no_other(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        await belong(one, "here", directory(tmp_path, "a"), alone=True)
        assert await belong(one, "here", directory(tmp_path, "a"), alone=True)
        with pytest.raises(Stranger, match=r"already, to which .*/b does not belong"):
            await belong(one, "here", directory(tmp_path, "b"), alone=True)
        with pytest.raises(Stranger, match=r"already, to which .*/b does not belong"):
            await belong(one, "here", directory(tmp_path, "b"), alone=True)


async def test_who_died_before_the_store_had_his_clusters_identity_founds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(tmp_path) as one:
        here = directory(tmp_path, "here")

        async def die(*_: object) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as dying:
            dying.setattr(one, "cas", die)
            with pytest.raises(asyncio.CancelledError):
                await belong(one, "here", here, alone=True)
        drawn = here.cluster.read_text()
        assert await belong(one, "here", here, alone=True) in drawn
        assert "founding" in drawn
        assert "founding" not in here.cluster.read_text()


async def test_a_memory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        here = directory(tmp_path, "here")
        for damage in ("", "[]", "{}", "\xff"):
            here.cluster.write_text(damage)
            with pytest.raises(DirectoryError, match=r"cluster\.json: cannot be read"):
                await belong(one, "here", here)
