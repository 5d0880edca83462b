"""The store in one SQLite file: for one machine, nothing to install.

`BEGIN IMMEDIATE` arbitrates, and the kernel frees its lock when a process is killed. One thread
owns the connection and carries calls out in the order they were made.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cluster.store import Lost, StoreAway, Unknown, Won

DEADLINE_MS = 400
BUSY_STEP_MS = 20
MAX_WAITING = 1_000
"""Calls that wait for the thread; more are refused as StoreAway or Unknown."""

SCHEMA = """
create table if not exists kv (
  key   text primary key,
  rev   integer not null,
  value blob not null
) without rowid
"""

T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], object], "Future[object]", float]


class SqliteStore:
    """A `Store`. Open it with `open`, end it with `close`."""

    def __init__(self, path: Path, *, deadline_ms: int = DEADLINE_MS) -> None:
        self._path = path
        self._deadline_s = deadline_ms / 1000
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._locked_since: float | None = None
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._opened: Future[None] = Future()

    async def open(self) -> None:
        """sqlite3.Error or OSError if the file cannot be had."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    def close(self) -> None:
        """Ends the thread after the calls made so far. May be called again."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(timeout=2 * self._deadline_s)

    async def read(self, key: str) -> tuple[int, bytes | None]:
        return await self._ask(lambda db: _read(db, key))

    async def cas(self, key: str, rev: int, value: bytes) -> Won | Lost | Unknown:
        def change(db: sqlite3.Connection) -> Won | Lost:
            stands, current = _read(db, key)
            if stands != rev:
                return Lost(stands, current)
            db.execute(
                "insert into kv (key, rev, value) values (?, ?, ?)"
                " on conflict (key) do update set rev = excluded.rev, value = excluded.value",
                (key, rev + 1, value),
            )
            return Won(rev + 1)

        try:
            return await self._ask(lambda db: self._transact(db, change))
        except StoreAway:
            return Unknown()

    async def list(self, prefix: str) -> dict[str, bytes]:
        def rows(db: sqlite3.Connection) -> dict[str, bytes]:
            found = db.execute(
                "select key, value from kv where key >= ? and substr(key, 1, ?) = ? order by key",
                (prefix, len(prefix), prefix),
            )
            return dict(found.fetchall())

        return await self._ask(rows)

    async def put(self, key: str, value: bytes) -> None:
        def change(db: sqlite3.Connection) -> None:
            db.execute(
                "insert into kv (key, rev, value) values (?, 1, ?)"
                " on conflict (key) do update set rev = rev + 1, value = excluded.value",
                (key, value),
            )

        await self._ask(lambda db: self._transact(db, change))

    async def delete(self, key: str) -> None:
        def change(db: sqlite3.Connection) -> None:
            db.execute("delete from kv where key = ?", (key,))

        await self._ask(lambda db: self._transact(db, change))

    def locked_ms(self) -> int:
        since = self._locked_since
        return 0 if since is None else int((time.monotonic() - since) * 1000)

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._jobs.qsize() >= MAX_WAITING or not self._thread.is_alive():
            raise StoreAway
        answer: Future[T] = Future()
        until = time.monotonic() + self._deadline_s
        self._jobs.put((work, answer, until))  # type: ignore[arg-type]  # the Future is work's own
        # Shielded: a change that is under way goes on and its outcome is unknown.
        waited = asyncio.wrap_future(answer)
        waited.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(waited)
        except TimeoutError:
            raise StoreAway from None

    # -- on the store's thread -------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.execute(SCHEMA)
            db.execute(f"pragma busy_timeout = {BUSY_STEP_MS}")
        except sqlite3.Error as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        while (job := self._jobs.get()) is not None:
            work, answer, self._until = job
            try:
                if time.monotonic() > self._until:
                    raise TimeoutError  # nobody waits for it any more: it need not be done
                result = work(db)
            except (sqlite3.Error, TimeoutError):
                with suppress(InvalidStateError):  # nobody waits any more
                    answer.set_exception(StoreAway())
            else:
                with suppress(InvalidStateError):
                    answer.set_result(result)
        db.close()

    def _transact(self, db: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
        """TimeoutError if another process keeps the lock until the call's deadline."""
        began = time.monotonic()
        try:
            while True:
                try:
                    db.execute("begin immediate")
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                        raise
                    self._locked_since = began
                    if time.monotonic() > self._until:
                        raise TimeoutError from None
        finally:
            self._locked_since = None
        try:
            result = change(db)
            db.execute("commit")
        finally:
            if db.in_transaction:  # it failed: the lock must not stay with us
                db.execute("rollback")
        return result


def _read(db: sqlite3.Connection, key: str) -> tuple[int, bytes | None]:
    row = db.execute("select rev, value from kv where key = ?", (key,)).fetchone()
    return (0, None) if row is None else (row[0], row[1])
