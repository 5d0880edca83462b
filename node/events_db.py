"""The SQL database of events and call detail records (CDRs), in SQLite.

One thread of its own writes; whoever calls waits for nothing. An event counts once by its id and a
CDR once by its call, however often they are inserted, so a node that took over may repeat what its
predecessor may or may not have written. Rows are never changed.
"""

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calls.inputs import CloseLost, LostCall
from cluster.io.sqlite import use_wal

Row = tuple[str, str, int, int, str, str, bytes]
"""An event: id, shard, epoch, wall-clock ms, kind, call (or empty), its fields as a JSON object."""

Done = Callable[[bool], None]
"""Told True once the rows are on disk, False when they are not and must be inserted again."""

MAX_WAITING = 1_024
"""Batches that wait for the thread; one more is answered False at once."""

MAX_ROWS = 2_000
"""Rows in one transaction, so that no batch waits long for others."""

BUSY_MS = 2_000
"""How long a transaction waits for another process's before its batches are answered False."""

DEFAULT_LIMIT = 10_000
"""Rows of a query that names no limit."""

CDR_FIELDS = (
    "number",
    "queue",
    "agent",
    "caller",
    "outcome",
    "received_at",
    "queued_at",
    "answered_at",
    "ended_at",
    "wait_ms",
    "talk_ms",
)
"""What an `ended` event says of its call; further fields of it go into the column `more`."""

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    shard TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    call TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_call ON events (call) WHERE call <> '';
CREATE INDEX IF NOT EXISTS events_received ON events (shard, call) WHERE kind = 'received';
CREATE INDEX IF NOT EXISTS events_failover ON events (n) WHERE kind = 'failover';
CREATE TABLE IF NOT EXISTS dialogs (call_id TEXT PRIMARY KEY, call TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cdr (
    n INTEGER PRIMARY KEY,
    call TEXT NOT NULL UNIQUE,
    shard TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    {", ".join(CDR_FIELDS)},
    more TEXT NOT NULL
);
"""

INSERT_EVENT = """
INSERT OR IGNORE INTO events (id, shard, epoch, wall_ms, kind, call, fields)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""

INSERT_DIALOG = "INSERT OR IGNORE INTO dialogs (call_id, call) VALUES (?, ?)"

INSERT_CDR = f"""
INSERT OR IGNORE INTO cdr (call, shard, epoch, {", ".join(CDR_FIELDS)}, more)
VALUES (?, ?, ?, {", ".join("?" * len(CDR_FIELDS))}, ?)
"""

SELECT_CDR = f"SELECT call, shard, epoch, {', '.join(CDR_FIELDS)}, more FROM cdr"

SELECT_EVENTS = "SELECT n, id, shard, epoch, wall_ms, kind, call, fields FROM events"

SELECT_OPEN = """
SELECT call, json_extract(fields, '$.number'), json_extract(fields, '$.caller'), wall_ms,
EXISTS (
    SELECT 1 FROM events AS q
    WHERE q.call = events.call AND q.call <> '' AND q.kind = 'queued'
),
EXISTS (
    SELECT 1 FROM events AS a
    WHERE a.call = events.call AND a.call <> '' AND a.kind = 'answered'
)
FROM events WHERE kind = 'received' AND shard = ? AND epoch < ? AND call <> ''
AND NOT EXISTS (SELECT 1 FROM cdr WHERE cdr.call = events.call) ORDER BY n
"""

SELECT_KINDS = "SELECT kind, count(*) FROM events WHERE shard = ? AND epoch < ? GROUP BY kind"

Job = tuple[Sequence[Row], Done]


class EventsDb:
    """The writer. Its methods are called on one event loop, the one that called `start`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inserted = 0
        """Rows that the thread has put on disk, repeats included."""
        self.failed = 0
        """Batches that were answered False."""
        self.alarm = ""
        """Why the last transaction failed; "": it did not."""
        self._jobs: queue.Queue[Job | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; the database is created when it is not there."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="events-db", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Batches that wait for the thread."""
        return self._jobs.qsize()

    def insert(self, batch: Sequence[Row], done: Done) -> None:
        """Insert the batch and say how it went: `done` is called once, later, on the event loop.

        Never blocks. False means: not on disk; the same batch may be inserted again at any time.
        """
        assert self._loop is not None, "start() comes first"
        try:
            self._jobs.put_nowait((batch, done))
        except queue.Full:
            self.failed += 1
            self._loop.call_soon(done, False)

    def close(self, timeout_ms: int = 5_000) -> None:
        """Insert what waits, then end the thread. Blocks, for `timeout_ms` at most."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._jobs.put(None, timeout=timeout_ms / 1_000)
        self._thread.join(timeout_ms / 1_000)
        self._thread = None

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        ended = False
        while not ended:
            jobs, ended = self._gather()
            if not jobs:
                continue
            try:
                connection = connection or connect(self.path)
                self.inserted += write(connection, [row for batch, _ in jobs for row in batch])
                is_written = True
                self.alarm = ""
            except sqlite3.Error as error:  # locked, disk full, damaged: the outbox keeps the rows
                is_written = False
                self.alarm = f"events and CDRs wait in memory, {self.path.name}: {error}"
                self.failed += len(jobs)
                if connection:
                    connection.close()
                connection = None
            for _, done in jobs:
                self._tell(done, is_written)
        if connection:
            connection.close()

    def _gather(self) -> tuple[list[Job], bool]:
        """The next batches for one transaction, and whether they are the last."""
        jobs: list[Job] = []
        rows = 0
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            rows += len(job[0])
            if rows >= MAX_ROWS:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _tell(self, done: Done, is_written: bool) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(done, is_written)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write, with the schema in place. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1_000, isolation_level=None)
    try:
        use_wal(connection, BUSY_MS / 1_000)
        connection.execute("PRAGMA synchronous = FULL")
        if not has_schema(connection):
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def write(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Insert the rows, and the CDRs that are among them, in one transaction."""
    dialogs: list[tuple[str, str]] = []
    records: list[tuple[Any, ...]] = []
    for _, shard, epoch, _, kind, call, fields in rows:
        if not call or (kind != "ended" and b'"call_id"' not in fields):
            continue
        known = json.loads(fields)
        if "call_id" in known:
            dialogs.append((str(known["call_id"]), call))
        if kind == "ended":
            records.append(cdr_row(call, shard, epoch, known))
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            INSERT_EVENT, [(*row[:6], row[6].decode(errors="replace")) for row in rows]
        )
        connection.executemany(INSERT_DIALOG, dialogs)
        connection.executemany(INSERT_CDR, records)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise
    return len(rows)


def cdr_row(call: str, shard: str, epoch: int, fields: dict[str, Any]) -> tuple[Any, ...]:
    known = (fields.get(name) for name in CDR_FIELDS)
    more = {
        name: value for name, value in fields.items() if name not in CDR_FIELDS and name != "call"
    }
    return (call, shard, epoch, *known, json.dumps(more))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Raises sqlite3.Error when there is no database yet."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1_000
    )
    try:
        yield connection
    finally:
        connection.close()


def read_cdr(path: Path, *, call: str = "", limit: int = 0) -> list[dict[str, Any]]:
    """The newest `limit` CDRs, oldest first; with `call`: only that call's, by id or Call-ID."""
    if not is_there(path):
        return []
    with reading(path) as connection:
        where, values = only(connection, call)
        rows = connection.execute(
            f"{SELECT_CDR}{where} ORDER BY n DESC LIMIT ?", (*values, limit or DEFAULT_LIMIT)
        ).fetchall()
    return [as_cdr(row) for row in reversed(rows)]


def read_events(path: Path, *, call: str = "", limit: int = 0) -> list[dict[str, Any]]:
    """The newest `limit` events, oldest first; with `call`: only that call's, by id or Call-ID."""
    if not is_there(path):
        return []
    with reading(path) as connection:
        return newest_events(connection, *only(connection, call), limit)


def read_failovers(path: Path, *, limit: int = 0) -> list[dict[str, Any]]:
    """The newest `limit` switches of any shard to another node, oldest first."""
    if not is_there(path):
        return []
    with reading(path) as connection:  # literally as in the partial index, so that it is used
        return newest_events(connection, " WHERE kind = 'failover'", (), limit)


def newest_events(
    connection: sqlite3.Connection, where: str, values: tuple[str, ...], limit: int
) -> list[dict[str, Any]]:
    rows = connection.execute(
        f"{SELECT_EVENTS}{where} ORDER BY n DESC LIMIT ?", (*values, limit or DEFAULT_LIMIT)
    ).fetchall()
    rows.sort(key=lambda row: (row[4], row[0]))
    return [as_event(row) for row in rows]


def read_lost(path: Path, shard: str, epoch: int) -> CloseLost:
    """What is known of a shard whose every copy died: open calls and facts by kind before `epoch`.

    Raises sqlite3.Error when the database cannot be read.
    """
    if not is_there(path):
        return CloseLost(epoch, [], {})
    with reading(path) as connection:
        calls = [
            LostCall(call, number or "", caller or "", wall_ms, bool(queued), bool(answered))
            for call, number, caller, wall_ms, queued, answered in connection.execute(
                SELECT_OPEN, (shard, epoch)
            )
        ]
        return CloseLost(
            epoch, calls, dict(connection.execute(SELECT_KINDS, (shard, epoch)).fetchall())
        )


def is_there(path: Path) -> bool:
    """Has a first fact been written? Raises sqlite3.Error when that cannot be told."""
    if not path.exists():
        return False
    with reading(path) as connection:
        return has_schema(connection)


def has_schema(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cdr'").fetchone()
    return found is not None


def find_call(path: Path, named: str) -> str:
    """The id of the call that `named` names, by its id or a Call-ID; empty when unknown."""
    with reading(path) as connection:
        return resolve(connection, named)


def resolve(connection: sqlite3.Connection, named: str) -> str:
    row = connection.execute("SELECT call FROM dialogs WHERE call_id = ?", (named,)).fetchone()
    if row is None:
        row = connection.execute(
            "SELECT call FROM events WHERE call = ? AND call <> '' LIMIT 1", (named,)
        ).fetchone()
    return str(row[0]) if row else ""


def only(connection: sqlite3.Connection, call: str) -> tuple[str, tuple[str, ...]]:
    if not call:
        return "", ()
    # The second condition lets SQLite use the partial index.
    return " WHERE call = ? AND call <> ''", (resolve(connection, call) or call,)


def as_cdr(row: Sequence[Any]) -> dict[str, Any]:
    call, shard, epoch, *values, more = row
    record: dict[str, Any] = {"call": call, "shard": shard, "epoch": epoch}
    record |= zip(CDR_FIELDS, values, strict=True)
    others: dict[str, Any] = json.loads(more)
    return for_people(others | record)


def as_event(row: Sequence[Any]) -> dict[str, Any]:
    _, id_, shard, epoch, wall_ms, kind, call, fields = row
    event: dict[str, Any] = {
        "id": id_,
        "at": at(wall_ms),
        "wall_ms": wall_ms,
        "shard": shard,
        "epoch": epoch,
        "kind": kind,
        "call": call,
    }
    more: dict[str, Any] = json.loads(fields)
    return for_people(more | event)


def for_people(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its moments, the fields named `_at`, as people read them."""
    return {
        name: at(value) if name.endswith("_at") and isinstance(value, int) else value
        for name, value in row.items()
    }


def at(wall_ms: int) -> str | None:
    """Wall-clock milliseconds for people: ISO 8601 in UTC; 0, which is never: None."""
    if not wall_ms:
        return None
    moment = datetime.fromtimestamp(wall_ms / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
