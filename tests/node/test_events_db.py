"""The database of events and CDRs: everything once, whatever is repeated, and never a wait."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from calls.inputs import CloseLost
from node import events_db
from node.events_db import EventsDb, Row
from node.lost import left_behind

CALL = "main/3/17"

CDR: dict[str, Any] = {
    "number": "4001",
    "queue": "support",
    "agent": "1001",
    "caller": "+4930",
    "outcome": "answered",
    "received_at": 1_700_000_000_000,
    "queued_at": 1_700_000_001_500,
    "answered_at": 0,
    "ended_at": 1_700_000_061_500,
    "wait_ms": 20_000,
    "talk_ms": 40_000,
    "ended_by": "caller",
}


def row(n: int, kind: str, call: str = CALL, shard: str = "main", **fields: Any) -> Row:
    wall_ms = 1_700_000_000_000 + n
    return (f"{shard}/3/{n}/{kind}", shard, 3, wall_ms, kind, call, json.dumps(fields).encode())


async def insert(db: EventsDb, *rows: Row) -> bool:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    db.insert(rows, done.set_result)
    return await asyncio.wait_for(done, 10)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[EventsDb]:
    db = EventsDb(tmp_path / "events.db")
    db.start()
    yield db
    await asyncio.to_thread(db.close)


async def test_an_event_that_is_inserted_again_is_there_once(db: EventsDb) -> None:
    received, ended = row(1, "received", caller="x"), row(2, "ended", **CDR)

    assert await insert(db, received, ended)
    assert await insert(db, ended, received)

    assert [event["kind"] for event in events_db.read_events(db.path)] == ["received", "ended"]
    assert len(events_db.read_cdr(db.path)) == 1


async def test_an_ended_call_has_one_record_though_two_nodes_say_it_ended(db: EventsDb) -> None:
    await insert(db, row(1, "ended", **CDR), row(2, "ended", **CDR | {"outcome": "failed"}))

    assert events_db.read_cdr(db.path) == [
        CDR
        | {
            "call": CALL,
            "shard": "main",
            "epoch": 3,
            "received_at": "2023-11-14T22:13:20.000Z",
            "queued_at": "2023-11-14T22:13:21.500Z",
            "answered_at": None,
            "ended_at": "2023-11-14T22:14:21.500Z",
        }
    ]


async def test_an_event_says_when_where_and_in_which_epoch(db: EventsDb) -> None:
    await insert(
        db, row(7, "queued", queue="support", ended_at=0, id="an event cannot hide its id")
    )

    assert events_db.read_events(db.path) == [
        {
            "id": "main/3/7/queued",
            "at": "2023-11-14T22:13:20.007Z",
            "wall_ms": 1_700_000_000_007,
            "shard": "main",
            "epoch": 3,
            "kind": "queued",
            "call": CALL,
            "queue": "support",
            "ended_at": None,
        }
    ]


async def test_a_call_is_found_by_its_id_and_by_the_call_id_of_each_leg(db: EventsDb) -> None:
    await insert(
        db,
        row(1, "received", call_id="caller@192.0.2.1"),
        row(2, "offered", call_id="agent@192.0.2.2"),
        row(3, "ended", **CDR),
        row(4, "received", call="main/3/18", call_id="other@192.0.2.1"),
    )

    for named in (CALL, "caller@192.0.2.1", "agent@192.0.2.2"):
        assert events_db.find_call(db.path, named) == CALL
        assert len(events_db.read_events(db.path, call=named)) == 3
        assert len(events_db.read_cdr(db.path, call=named)) == 1
    assert events_db.find_call(db.path, "nobody") == ""
    assert events_db.read_events(db.path, call="nobody") == []


async def test_a_limit_keeps_the_newest_in_order(db: EventsDb) -> None:
    await insert(db, *(row(n, "ended", call=f"c{n}", **CDR) for n in range(10)))

    assert [one["call"] for one in events_db.read_cdr(db.path, limit=3)] == ["c7", "c8", "c9"]
    assert [one["call"] for one in events_db.read_events(db.path, limit=2)] == ["c8", "c9"]


async def test_calls_without_a_record_are_open(db: EventsDb) -> None:
    await insert(
        db,
        row(1, "received", call="a"),
        row(2, "received", call="b"),
        row(3, "received", call="c", shard="south"),
        row(4, "ended", call="b", **CDR),
        row(5, "received", call="d"),
    )

    lost = events_db.read_lost(db.path, "main", 4)
    assert [one.call for one in lost.calls] == ["a", "d"]
    assert lost.ledger == {"received": 3, "ended": 1}
    assert [one.call for one in events_db.read_lost(db.path, "south", 4).calls] == ["c"]


async def test_calls_of_the_new_epoch_are_not_among_the_lost(db: EventsDb) -> None:
    await insert(db, row(1, "received", call="a"), row(2, "received", call="b"))

    assert events_db.read_lost(db.path, "main", 3) == CloseLost(3, [], {})
    assert len(events_db.read_lost(db.path, "main", 4).calls) == 2


async def test_a_locked_database_delays_the_closing_of_lost_calls_and_nothing_else(
    db: EventsDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_db, "BUSY_MS", 50)
    await insert(db, row(1, "received", call="a"))
    await asyncio.to_thread(db.close)
    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):  # not "no call ever was"
        await asyncio.to_thread(events_db.read_lost, db.path, "main", 4)

    asked = asyncio.create_task(left_behind(db.path, "main", 4, is_ours=lambda: True, again_ms=10))
    for _ in range(10):
        await asyncio.sleep(0.01)
        assert not asked.done()
    other.execute("COMMIT")
    other.close()
    known = await asked
    assert known is not None
    assert [call.call for call in known.calls] == ["a"]


async def test_lost_calls_of_a_shard_that_has_moved_on_are_left_to_its_next_node(
    db: EventsDb,
) -> None:
    assert await left_behind(db.path, "main", 4, is_ours=lambda: False) is None


async def test_how_far_an_open_call_had_come_is_known(db: EventsDb) -> None:
    await insert(
        db,
        row(1, "received", call="a", number="4001", caller="x"),
        row(2, "received", call="b"),
        row(3, "queued", call="b"),
        row(4, "answered", call="b"),
    )

    first, second = events_db.read_lost(db.path, "main", 4).calls
    assert (first.number, first.caller) == ("4001", "x")
    assert (first.was_queued, first.was_answered) == (False, False)
    assert (second.was_queued, second.was_answered) == (True, True)


def test_before_the_first_call_no_call_is_open(tmp_path: Path) -> None:
    assert events_db.read_lost(tmp_path / "events.db", "main", 4).calls == []


async def test_three_writers_start_at_once_and_lose_nothing(tmp_path: Path) -> None:
    writers = [EventsDb(tmp_path / "events.db") for _ in range(3)]
    for writer in writers:
        writer.start()
    asked = [
        insert(writer, row(n, f"event{number}", call=f"{number}-{n}"))
        for n in range(50)
        for number, writer in enumerate(writers)
    ]

    assert all(await asyncio.gather(*asked))
    for writer in writers:
        await asyncio.to_thread(writer.close)
    assert len(events_db.read_events(tmp_path / "events.db")) == 150


async def test_a_database_that_cannot_be_written_says_so_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    db = EventsDb(folder / "events.db")
    db.start()
    assert not await insert(db, row(1, "received"))

    folder.mkdir()
    assert await insert(db, row(1, "received"))
    assert db.failed == 1
    await asyncio.to_thread(db.close)


async def test_a_locked_database_is_answered_in_bounded_time_and_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_db, "BUSY_MS", 50)
    monkeypatch.setattr(events_db, "MAX_WAITING", 4)
    events_db.connect(tmp_path / "events.db").close()
    db = EventsDb(tmp_path / "events.db")
    db.start()
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    answers = await asyncio.gather(*(insert(db, row(n, "received")) for n in range(20)))
    assert answers == [False] * 20

    other.execute("COMMIT")
    other.close()
    assert await insert(db, row(1, "received"))
    await asyncio.to_thread(db.close)


async def test_what_was_handed_over_before_the_end_is_written(tmp_path: Path) -> None:
    db = EventsDb(tmp_path / "events.db")
    db.start()
    for n in range(100):
        db.insert([row(n, "received")], lambda is_written: None)
    await asyncio.to_thread(db.close)

    assert len(events_db.read_events(db.path)) == 100
