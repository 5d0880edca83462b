"""Facts reach the database once, however often it refuses them first."""

import asyncio
from collections.abc import Sequence
from typing import Any

from calls.effects import Publish
from calls.inputs import Drained
from calls.records import Event
from node import outbox
from node.events_db import Done, Row
from node.outbox import OutboxDrain


class Database:
    """Stands in for EventsDb at its one method: says no `refusals` times, then yes."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.rows: list[Row] = []

    def insert(self, batch: Sequence[Row], done: Done) -> None:
        self.refusals -= 1
        if self.refusals < 0:
            self.rows += batch
        asyncio.get_running_loop().call_soon(done, self.refusals < 0)


def fact(n: int) -> Publish:
    key = f"outbox/00000001/{n:012d}"
    return Publish(key, [Event(f"main/1/{n}/0", 1, "received", f"c{n}", {"number": "4001"})])


class Posted(list[Any]):
    """What was posted to the shard."""

    def __init__(self) -> None:
        self.more = asyncio.Event()

    def post(self, event: Any) -> None:
        self.append(event)
        self.more.set()

    async def drained(self, count: int) -> None:
        async with asyncio.timeout(5):
            while sum(len(event.keys) for event in self) < count:
                self.more.clear()
                await self.more.wait()


async def test_facts_are_gathered_written_and_drained() -> None:
    posted = Posted()
    database = Database()
    drain = OutboxDrain("main", database, posted.post)
    for n in range(5):
        drain.publish(fact(n))
    drain.publish(fact(0))  # a re-drive repeats what is under way
    await posted.drained(5)

    assert posted == [Drained([fact(n).key for n in range(5)])]
    assert len(database.rows) == 5
    assert drain.bytes == 0


async def test_what_the_database_refused_is_written_later() -> None:
    posted = Posted()
    database = Database(refusals=2)
    drain = OutboxDrain("main", database, posted.post)
    drain.publish(fact(1))
    await posted.drained(1)

    assert [row[0] for row in database.rows] == ["main/1/1/0"]


async def test_a_full_outbox_says_so_before_it_refuses_calls() -> None:
    drain = OutboxDrain("main", Database(refusals=1_000_000), lambda event: None)
    drain.bytes = outbox.OUTBOX_BYTES_MAX
    assert "100 %" in drain.alarm
    assert (drain.bytes, drain.is_full) == (outbox.OUTBOX_BYTES_MAX, False)
    drain.publish(fact(1))
    assert (drain.bytes > outbox.OUTBOX_BYTES_MAX, drain.is_full) == (True, True)
    drain.stop()
    assert drain.alarm == ""
