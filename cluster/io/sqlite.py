"""The store in one SQLite file: for one machine, nothing to install.

`BEGIN IMMEDIATE` arbitrates, and the kernel frees its lock when a process is killed. One thread
owns the connection and carries calls out in the order they were made.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from cluster.io.clock import now_ms
from cluster.io.contact import Contact, Note, quiet
from cluster.store import (
    BEAT_MS,
    MEMBER_TTL_MS,
    Change,
    Changed,
    ListAnew,
    Lost,
    Outcome,
    Store,
    StoreAway,
    StoreRefused,
    Unknown,
    Won,
)

DEADLINE_MS = 400
BUSY_STEP_MS = 20
OPEN_S = 1.0
"""How long another process is waited for that has the file just when it is opened."""
MAX_WAITING = 1_000
"""Calls that wait for the thread; more are refused as StoreAway or Unknown."""
POLL_MS = 50
"""A watch looks so often for what other processes have changed."""
KEPT_CHANGES = 10_000
"""So many are kept for those who watch; whoever is further behind has to list anew."""
READ_CHANGES = 1_000
"""At most so many are read at a time."""

SCHEMA = (
    """create table if not exists kv (
         key   text primary key,
         rev   integer not null,
         value blob not null
       ) without rowid""",
    # Written by triggers, so that no writer, of whatever version, can forget it.
    """create table if not exists change (
         seq   integer primary key autoincrement,
         key   text not null,
         rev   integer not null,
         value blob
       )""",
    """create trigger if not exists kv_inserted after insert on kv begin
         insert into change (key, rev, value) values (new.key, new.rev, new.value);
       end""",
    """create trigger if not exists kv_updated after update on kv begin
         insert into change (key, rev, value) values (new.key, new.rev, new.value);
       end""",
    """create trigger if not exists kv_deleted after delete on kv begin
         insert into change (key, rev, value) values (old.key, 0, null);
       end""",
    f"""create trigger if not exists change_trimmed after insert on change begin
         delete from change where seq <= new.seq - {KEPT_CHANGES};
       end""",
    # `until_ms` is of the monotonic clock: all processes of the machine have it, nobody sets it.
    """create table if not exists member (
         node     text primary key,
         value    blob not null,
         until_ms integer not null
       ) without rowid""",
)

T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], object], "Future[object]", float]


class SqliteStore(Store):
    """A `Store`. Open it with `open`, end it with `close`."""

    def __init__(self, path: Path, *, deadline_ms: int = DEADLINE_MS, note: Note = quiet) -> None:
        self._path = path
        self._deadline_s = deadline_ms / 1000
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._locked_since: float | None = None
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._opened: Future[None] = Future()
        self._contact = Contact(str(path), note)
        self._attending: tuple[str, bytes, asyncio.Task[None]] | None = None

    async def open(self) -> None:
        self._thread.start()
        try:
            await asyncio.wrap_future(self._opened)
        except sqlite3.Error as error:
            raise StoreRefused(f"{self._path}: {error}") from None

    async def close(self) -> None:
        if self._attending is not None:
            node, value, beats = self._attending
            self._attending = None
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
            gone = "delete from member where node = ? and value = ?"
            with suppress(StoreAway):
                await self._answer(self._once(gone, node, value))
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, 2 * self._deadline_s)

    async def read_many(self, keys: Sequence[str]) -> list[tuple[int, bytes | None]]:
        return await self._ask(lambda db: [_read(db, key) for key in keys])

    async def cas_many(self, changes: Sequence[Change]) -> list[Outcome]:
        def all_of_them(db: sqlite3.Connection) -> list[Outcome]:
            return [_change(db, change) for change in changes]

        try:
            return await self._ask(lambda db: self._transact(db, all_of_them))
        except StoreAway:
            return [Unknown()] * len(changes)

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

    async def watch(self, prefix: str) -> AsyncGenerator[Changed | ListAnew, None]:
        seen: int | None = None
        while True:
            found: Sequence[Changed] | None = ()
            with suppress(StoreAway):
                seen, found = await self._ask(partial(_look, seen=seen))
            if found is None:
                yield ListAnew()
                continue
            for changed in found:
                if changed.key.startswith(prefix):
                    yield changed
            if len(found) < READ_CHANGES:
                await asyncio.sleep(POLL_MS / 1000)

    def attend(self, node: str, value: bytes) -> None:
        assert self._attending is None
        self._attending = (node, value, asyncio.create_task(self._beat(node, value)))

    async def _beat(self, node: str, value: bytes) -> None:
        here = (
            "insert into member (node, value, until_ms) values (?, ?, ?) on conflict (node)"
            " do update set value = excluded.value, until_ms = excluded.until_ms"
        )
        while True:
            until_ms = now_ms() + MEMBER_TTL_MS
            with suppress(StoreAway):
                await self._answer(self._once(here, node, value, until_ms))
            await asyncio.sleep(BEAT_MS / 1000)

    async def members(self) -> dict[str, bytes]:
        def rows(db: sqlite3.Connection) -> dict[str, bytes]:
            now = now_ms()
            found = db.execute(  # beyond its time to live: written before this machine started
                "select node, value from member where until_ms > ? and until_ms <= ? order by node",
                (now, now + MEMBER_TTL_MS),
            )
            return dict(found.fetchall())

        return await self._ask(rows)

    def locked_ms(self) -> int:
        since = self._locked_since
        return 0 if since is None else int((time.monotonic() - since) * 1000)

    def silent_ms(self) -> int:
        return self._contact.silent_ms()

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            found = await self._answer(work)
        except StoreAway as error:
            self._contact.missed(str(error))
            raise
        self._contact.answered()
        return found

    async def _answer(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if not self._thread.is_alive():
            raise StoreAway("closed")
        if self._jobs.qsize() >= MAX_WAITING:
            raise StoreAway("too many calls wait for it")
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
            raise StoreAway("no answer in time") from None

    # -- on the store's thread -------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            db = sqlite3.connect(self._path, timeout=OPEN_S, isolation_level=None)
            use_wal(db, OPEN_S)
            db.execute("pragma synchronous = full")
            for statement in SCHEMA:
                db.execute(statement)
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
            except (sqlite3.Error, TimeoutError) as error:
                with suppress(InvalidStateError):  # nobody waits any more
                    answer.set_exception(StoreAway(str(error) or "locked by another process"))
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

    def _once(self, statement: str, *values: object) -> Callable[[sqlite3.Connection], None]:
        """Tried once: what is for display waits for nobody's lock."""

        def change(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        def work(db: sqlite3.Connection) -> None:
            self._until = time.monotonic()
            self._transact(db, change)

        return work


def _read(db: sqlite3.Connection, key: str) -> tuple[int, bytes | None]:
    row = db.execute("select rev, value from kv where key = ?", (key,)).fetchone()
    return (0, None) if row is None else (row[0], row[1])


def _change(db: sqlite3.Connection, change: Change) -> Outcome:
    stands, current = _read(db, change.key)
    if stands != change.rev:
        return Lost(stands, current)
    db.execute(
        "insert into kv (key, rev, value) values (?, ?, ?)"
        " on conflict (key) do update set rev = excluded.rev, value = excluded.value",
        (change.key, stands + 1, change.value),
    )
    return Won(stands + 1)


def _look(db: sqlite3.Connection, seen: int | None) -> tuple[int, Sequence[Changed] | None]:
    """The number of the newest change looked at, and those after `seen`; None: some are missing."""
    rows = db.execute(
        "select seq, key, rev, value from change where seq > ? order by seq limit ?",
        (seen, READ_CHANGES),
    ).fetchall()
    if seen is None or (rows and rows[0][0] != seen + 1):
        (newest,) = db.execute("select coalesce(max(seq), 0) from change").fetchone()
        return newest, None
    return (rows[-1][0] if rows else seen), [Changed(*row[1:]) for row in rows]


def use_wal(db: sqlite3.Connection, wait_s: float) -> None:
    """Turn the file into a write-ahead log, if it is none. Raises sqlite3.OperationalError.

    Of several processes that do so at once SQLite refuses all but one at once: there its busy
    time-out does not count (https://sqlite.org/c3ref/busy_handler.html), so they try again here.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            db.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > until:
                raise
        time.sleep(BUSY_STEP_MS / 1_000)
