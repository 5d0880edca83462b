"""The SQLite store: a writer that stopped inside its transaction, a full disk, a short memory."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.io import sqlite
from cluster.io.sqlite import SqliteStore
from cluster.store import Changed, ListAnew, StoreAway, StoreRefused, Unknown, Won
from tests.cluster.hosts import until


@asynccontextmanager
async def store(folder: Path, deadline_ms: int = 400) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(folder / "store.db", deadline_ms=deadline_ms)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@contextmanager
def stopped_writer(folder: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a change, as SIGSTOP leaves it."""
    other = sqlite3.connect(folder / "store.db", isolation_level=None)
    other.execute("begin immediate")
    try:
        yield other
    finally:
        other.close()


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
        assert len(await two.list("k")) <= 1  # one was under way


async def test_a_file_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    broken = SqliteStore(tmp_path / "absent" / "store.db")
    with pytest.raises(StoreRefused, match=r"absent/store\.db: unable to open database file"):
        await broken.open()
    await broken.close()


async def test_who_is_too_far_behind_is_told_to_list_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "delete from change where seq <= new.seq - 5;"
    schema = tuple(line.replace(f"- {sqlite.KEPT_CHANGES};", "- 5;") for line in sqlite.SCHEMA)
    assert any(short in line for line in schema)
    monkeypatch.setattr(sqlite, "SCHEMA", schema)
    async with store(tmp_path) as one, aclosing(one.watch("k")) as watch:
        assert await anext(watch) == ListAnew()
        for n in range(6):
            await one.put(f"k{n}", b"")
        assert await anext(watch) == ListAnew()
        await one.put("k", b"new")
        assert await anext(watch) == Changed("k", 1, b"new")


def test_of_many_who_open_a_new_file_at_once_none_is_refused(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def open_new(path: Path) -> None:
        together.wait()
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as db:
            sqlite.use_wal(db, 5.0)
            db.execute("create table if not exists t (n integer)")

    with ThreadPoolExecutor(3) as pool:
        for number in range(200):
            opened = [pool.submit(open_new, tmp_path / f"{number}.db") for _ in range(3)]
            for one in opened:
                one.result()


def test_who_holds_a_file_that_is_opened_is_waited_for_in_bounded_time(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other,
        closing(sqlite3.connect(tmp_path / "store.db", timeout=0.01)) as db,
    ):
        other.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite.use_wal(db, 0.1)
        other.execute("commit")
        sqlite.use_wal(db, 0.1)
