"""The SQLite store: compare-and-set, deadlines, a writer that stopped inside its transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.io.sqlite import SqliteStore
from cluster.store import Lost, StoreAway, Unknown, Won
from tests.cluster.hosts import until


@asynccontextmanager
async def store(folder: Path, deadline_ms: int = 400) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(folder / "store.db", deadline_ms=deadline_ms)
    await opened.open()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def stopped_writer(folder: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a change, as SIGSTOP leaves it."""
    other = sqlite3.connect(folder / "store.db", isolation_level=None)
    other.execute("begin immediate")
    try:
        yield other
    finally:
        other.close()


async def test_only_who_knows_the_revision_changes_a_key(tmp_path: Path) -> None:
    async with store(tmp_path) as one, store(tmp_path) as two:
        assert await one.read("k") == (0, None)
        assert await one.cas("k", 0, b"a") == Won(1)
        assert await two.cas("k", 0, b"b") == Lost(1, b"a")
        assert await two.cas("k", 1, b"b") == Won(2)
        assert await one.read("k") == (2, b"b")


async def test_of_two_who_try_at_once_one_wins(tmp_path: Path) -> None:
    async with store(tmp_path) as one, store(tmp_path) as two:
        for rev in range(20):
            answers = await asyncio.gather(one.cas("k", rev, b"1"), two.cas("k", rev, b"2"))
            assert sorted(type(answer).__name__ for answer in answers) == ["Lost", "Won"]


async def test_rows_are_listed_by_prefix_and_can_be_removed(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        for key in ("a/2", "a/1", "b/1", "a"):
            await one.put(key, key.encode())
        assert await one.list("a/") == {"a/1": b"a/1", "a/2": b"a/2"}
        await one.delete("a/1")
        assert list(await one.list("a/")) == ["a/2"]


async def test_while_a_writer_stands_still_reads_go_on_and_changes_are_unknown(
    tmp_path: Path,
) -> None:
    async with store(tmp_path, deadline_ms=300) as one:
        assert await one.cas("k", 0, b"a") == Won(1)
        with stopped_writer(tmp_path):
            change = asyncio.create_task(one.cas("k", 1, b"b"))
            await until(lambda: one.locked_ms() > 200)
            assert await change == Unknown()
            assert await one.read("k") == (1, b"a")
            assert one.locked_ms() == 0
            with pytest.raises(StoreAway):
                await one.put("p", b"")
        assert await one.cas("k", 1, b"b") == Won(2)


async def test_a_change_that_could_not_be_committed_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(sqlite3.Connection):
        is_full = False

        def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
            if sql == "commit" and FullDisk.is_full:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, values)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=FullDisk))
    async with store(tmp_path) as one, store(tmp_path) as two:
        FullDisk.is_full = True
        assert await one.cas("k", 0, b"a") == Unknown()
        FullDisk.is_full = False
        assert await two.cas("k", 0, b"b") == Won(1)
        assert await one.cas("k", 1, b"c") == Won(2)


async def test_a_call_whose_time_is_over_before_its_turn_is_not_carried_out(
    tmp_path: Path,
) -> None:
    async with store(tmp_path, deadline_ms=300) as one, store(tmp_path) as two:
        with stopped_writer(tmp_path):
            late = [asyncio.create_task(one.cas(f"k{n}", 0, b"a")) for n in range(20)]
            assert await asyncio.gather(*late) == [Unknown()] * 20
        assert await one.read("k19") == (0, None)
        assert [key for key in await two.list("k") if key != "k0"] == []  # that one was under way


async def test_a_file_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    broken = SqliteStore(tmp_path / "absent" / "store.db")
    with pytest.raises(sqlite3.OperationalError):
        await broken.open()
    broken.close()


async def test_a_closed_store_is_away(tmp_path: Path) -> None:
    async with store(tmp_path) as one:
        pass
    with pytest.raises(StoreAway):
        await one.read("k")
    assert await one.cas("k", 0, b"") == Unknown()
