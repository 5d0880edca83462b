"""What a member's journal holds, moment by moment, and what it claims when it cannot be kept."""

from collections.abc import Callable
from random import Random

import pytest

from cluster import journaling
from cluster.journal import Left
from cluster.journaling import COMPACT_BYTES, FLUSH_MS, FSYNC_MS, PART_RECORDS, RETRY_MS, Journal
from cluster.log import EVERYTHING, Log, pack
from cluster.messages import Batch
from loadtest.sim.disk import Disk, DiskStorage


class Node:
    """One process with a copy, its journal and its host's disk."""

    def __init__(
        self, disk: Disk | None = None, *, sync: bool = False, member: str = "a:1"
    ) -> None:
        self.disk = disk or Disk("a", Random(1))
        self.now_ms = 0
        self.alive = True
        self.notes: list[str] = []
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.member = member
        self.storage = DiskStorage(self.disk, self)
        self.journal = Journal(
            shard="main",
            sync=sync,
            storage=self.storage,
            old=self.disk.journals(),
            note=lambda what, **fields: self.notes.append(f"{what}: {fields.get('error')}"),
            now_ms=lambda: self.now_ms,
            wall_ms=lambda: 1_700_000_000_000 + self.now_ms,
        )
        self.log = Log(birth=1)

    def at(self, delay_ms: float, call: Callable[[], None]) -> None:
        self.waiting.append((self.now_ms + delay_ms, call))

    def keep(self) -> None:
        self.journal.keep(self.log, self.member, epoch=1, in_sync=(self.member,), shard_ms=7)

    def take(self, *keys: str, size: int = 10) -> None:
        """One batch more, and it is committed."""
        seq = self.log.end + 1
        data = pack([(key, b"%d" % seq + bytes(size)) for key in keys])
        self.log.append(Batch(1, seq, data))
        self.log.commit_to(seq - 1)
        self.keep()

    def run(self, ms: int) -> None:
        """Let so much time pass."""
        end = self.now_ms + ms
        while self.now_ms < end:
            self.now_ms += 10
            self.work()
            self.journal.tick(self.now_ms)

    def work(self) -> None:
        """The disk does what is due."""
        while due := [job for job in self.waiting if job[0] <= self.now_ms]:
            job = min(due, key=lambda job: job[0])
            self.waiting.remove(job)
            job[1]()

    def left(self) -> Left:
        left = self.disk.left()
        assert left is not None
        return left

    def has_failed(self) -> bool:
        return self.journal.failed

    def dies(self) -> Left:
        self.storage.died()
        return self.left()


@pytest.mark.parametrize("wait_ms", [0, 50, FLUSH_MS, 3 * FLUSH_MS, 2 * FSYNC_MS])
def test_what_was_taken_is_brought_back_whenever_the_process_dies(wait_ms: int) -> None:
    node = Node()
    node.take("x")
    node.run(300)
    for n in range(20):
        node.take(f"k{n}")
        node.run(wait_ms if n % 3 else 10)
    left = node.dies()
    assert (left.end, left.flaw) == (21, "")
    assert left.snapshot is not None
    assert len(left.snapshot.records) == 21


def test_what_was_not_fsynced_goes_with_the_host_and_the_journal_says_so() -> None:
    node = Node()
    node.take("x")
    node.run(3 * FSYNC_MS)
    node.take("y")
    node.dies()
    node.disk.reboot()
    left = node.left()
    assert left.flaw == "the host was restarted before it was on the disk"
    assert left.end == 1


def test_with_sync_nothing_is_held_before_it_is_on_the_disk() -> None:
    node = Node(sync=True)
    told: list[int] = []
    node.journal.on_held = lambda: told.append(node.journal.held)
    node.take("x")
    assert node.journal.held == 0
    node.run(100)
    assert node.journal.held == 1
    node.take("y")
    node.take("z")
    assert node.journal.held == 1
    node.run(50)
    assert told[-1] == node.journal.held == 3
    node.dies()
    node.disk.reboot()
    left = node.left()
    assert (left.end, left.flaw) == (3, "")


def test_a_batch_that_is_replaced_while_it_is_written_is_not_held() -> None:
    node = Node(sync=True)
    node.take("x")
    node.run(100)
    for seq in (2, 3):  # both are on their way
        node.log.append(Batch(1, seq, pack([(f"k{seq}", b"1")])))
        node.keep()
    node.log.cut(1)
    node.log.append(Batch(2, 2, pack([("other", b"1")])))
    node.keep()
    node.work()
    assert node.journal.held <= 1
    node.run(50)
    assert node.journal.held == 2
    left = node.dies()
    assert left.snapshot is not None
    assert set(left.snapshot.records) == {"x", "other"}


def test_a_journal_that_has_grown_begins_anew_and_is_whole_at_any_moment() -> None:
    node = Node()
    for n in range(3 * PART_RECORDS):
        node.take(f"k{n}")
    node.run(500)
    big = COMPACT_BYTES // 40
    for n in range(60):
        node.take(f"k{n}", size=big)
        node.run(30)
        left = node.left()
        assert (left.end, left.flaw) == (node.log.end, ""), n
    assert len(node.disk.files) == 1
    assert len(node.disk.tails) == 2
    (file,) = node.disk.files
    assert file > "main.00000001.journal"
    assert len(node.disk.files[file]) < 2 * COMPACT_BYTES + 3 * big
    left = node.dies()
    assert left.snapshot is not None
    assert left.snapshot.records == node.log.at_end()


def test_a_full_disk_is_told_and_the_journal_no_longer_claims_to_be_whole() -> None:
    node = Node()
    node.take("x")
    node.run(500)
    assert node.journal.is_whole
    node.disk.error = "No space left on device"
    node.take("y")
    node.run(3 * FLUSH_MS)
    assert node.notes == ["journal not kept: No space left on device"]
    assert node.journal.alarm == "No space left on device"
    assert not node.has_failed()
    assert node.journal.held == EVERYTHING
    node.take("z")
    assert node.left().flaw != ""

    node.disk.error = ""
    node.run(RETRY_MS)
    node.take("again")
    node.run(200)
    assert node.journal.alarm == ""
    left = node.dies()
    assert (left.end, left.flaw) == (4, "")


def test_a_disk_that_is_slower_than_the_log_costs_bounded_memory_and_then_the_journal() -> None:
    node = Node()
    node.take("x")
    node.run(500)
    node.disk.slow_ms = 60_000
    for n in range(100):
        node.take(f"k{n}", size=journaling.QUEUE_BYTES // 50)
        node.run(20)
        if node.journal.alarm:
            break
    assert node.notes == ["journal not kept: the disk is slower than the calls"]
    assert node.left().flaw != ""
    assert sum(map(len, node.disk.tails.values())) == 0


def test_with_sync_a_full_disk_ends_acknowledging_until_there_is_room() -> None:
    node = Node(sync=True)
    node.take("x")
    node.run(100)
    node.disk.error = "No space left on device"
    node.take("y")
    node.run(100)
    assert node.has_failed()
    assert node.journal.held == 1
    left = node.left()
    assert (left.end, left.flaw) == (1, "")  # and that is all that was acknowledged

    node.disk.error = ""
    node.run(RETRY_MS)
    assert not node.has_failed()
    node.take("z")
    node.run(200)
    assert node.journal.held == 3


def test_with_sync_a_disk_that_hangs_ends_acknowledging() -> None:
    node = Node(sync=True)
    node.take("x")
    node.run(100)
    node.disk.slow_ms = 60_000
    node.take("y")
    node.run(journaling.STALL_MS + 100)
    assert node.has_failed()


def test_a_copy_that_was_replaced_is_claimed_by_nobody_before_the_new_one_is_whole() -> None:
    """The same member got another copy by a snapshot and acknowledged on top of it; had it died
    then, its old journal would have come back as if that were all it had ever acknowledged."""
    node = Node()
    node.take("x")
    node.run(500)
    assert node.left().flaw == ""
    node.log = Log.restored(1, {"x": b"1", "y": b"2"}, base=40, base_epoch=1)
    node.keep()
    assert node.left().flaw != ""
    node.take("z")
    node.run(200)
    left = node.dies()
    assert (left.end, left.flaw) == (41, "")


def test_what_an_earlier_life_left_goes_only_when_the_new_journal_is_whole() -> None:
    node = Node()
    node.take("x")
    node.run(500)
    node.dies()
    again = Node(node.disk, member="a:2")
    again.log = Log()
    again.keep()  # it holds nothing yet
    again.run(500)
    assert again.left().member == "a:1"
    assert again.left().flaw == ""
    again.log = Log.restored(1, {f"k{n}": b"v" for n in range(3 * PART_RECORDS)}, base=7)
    again.keep()
    again.work()
    assert again.left().member == "a:1"
    again.run(500)
    assert again.left().member == "a:2"
    assert len(node.disk.files) == 1
    assert len(node.disk.tails) == 2


def test_a_member_that_comes_back_as_another_one_says_so_in_its_journal() -> None:
    node = Node()
    node.take("x")
    node.run(500)
    node.member = "a:1.1"
    node.take("y")
    node.run(500)
    left = node.dies()
    assert (left.member, left.end, left.flaw) == ("a:1.1", 2, "")


def test_a_member_that_stops_leaves_nothing_in_memory() -> None:
    node = Node()
    node.take("x")
    node.run(300)
    node.take("y")
    node.journal.retire()
    node.take("z")  # on its way out
    node.run(300)
    assert node.disk.tails == {}
    assert node.left().end == 2


def test_memory_that_cannot_be_had_is_told() -> None:
    node = Node()
    node.storage.add_tail = _no_memory  # type: ignore[method-assign]
    node.take("x")
    node.run(500)
    node.take("y")
    assert node.notes == ["journal not kept: no memory for its newest part: No space left"]
    assert node.left().flaw != ""
    assert not node.journal.is_whole


def _no_memory(tail: str, data: bytes) -> None:
    raise OSError(28, "No space left")
