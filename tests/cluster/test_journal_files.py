"""Journals on a real disk: their lock, their tails, a disk that is full."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.io.journal import FileStorage, Folder, JournalTaken
from cluster.journal import MAGIC, Base, Begin, Kept, begin_tail, frame, tails
from cluster.log import pack
from loadtest.sim.toy import Add
from tests.cluster.hosts import cluster, until
from tests.cluster.toy import Fill
from tests.small_disk import small_disk


def in_memory(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("keepline-")]


def test_only_one_process_keeps_journals_in_a_folder(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / "n1"), Folder(tmp_path / "n1")
    first.take()
    with pytest.raises(JournalTaken, match=f"n1: process {os.getpid()} is this node already"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_the_journals_of_a_shard_are_not_those_of_one_with_a_like_name(tmp_path: Path) -> None:
    for name in ("a.00000002", "a.00000001", "a.b.00000001", "a.x"):
        (tmp_path / f"{name}.journal").write_bytes(b"")
    (tmp_path / "a.00000003.part").write_bytes(b"")
    folder = Folder(tmp_path)
    assert [path.name for path in folder.files("a.b")] == ["a.b.00000001.journal"]
    names = [path.name for path in folder.files("a")]
    assert names == ["a.x.journal", "a.00000001.journal", "a.00000002.journal"]
    assert Folder(tmp_path / "none").files("a") == []


async def test_what_is_written_is_read_and_a_copy_of_it_is_told_apart(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "n1", tails=tmp_path)
    folder.take()
    loop = asyncio.get_running_loop()
    storage = FileStorage(folder, loop.call_soon_threadsafe)
    places: list[str] = []
    storage.create("main.00000001.journal", lambda error, place: places.append(error or place))
    await until(lambda: places != [])
    id = storage.name()
    kept = Kept([(1, 1, pack([("k", b"v")]))], 1, 1, 5, 6)
    written: list[str] = []
    first = MAGIC + frame(0, Begin("main", "n1:x", id, False, places[0], storage.boot_id))
    storage.write("main.00000001.journal", first, sync=True, done=written.append)
    for tail in tails(id):
        storage.begin_tail(tail, begin_tail(id, storage.home))
    storage.add_tail(tails(id)[0], frame(1, Base(1, 0, 0, 0, kept)))
    await until(lambda: written == [""])

    left = folder.newest("main", lambda what, **fields: None)
    assert left is not None
    assert (left.member, left.end, left.flaw) == ("n1:x", 1, "")
    file = folder.path / "main.00000001.journal"
    assert folder.begun(file) == id
    file.with_suffix(".copy").write_bytes(file.read_bytes())
    file.with_suffix(".copy").rename(file)
    left = folder.newest("main", lambda what, **fields: None)
    assert left is not None
    assert left.flaw == "it was copied to where it is"
    assert folder.begun(file) == ""  # so nobody removes the tails of where it came from

    # Somebody removed a tail: it is there again with the next flush.
    (tmp_path / f"keepline-{tails(id)[1]}").unlink()
    storage.begin_tail(tails(id)[1], begin_tail(id, storage.home))
    assert len(in_memory(tmp_path)) == 2
    storage.remove_tails(tails(id))
    storage.remove_tails(tails(id))
    assert in_memory(tmp_path) == []
    storage.close(2)
    folder.release()


def test_tails_whose_journals_were_deleted_are_swept_after_a_while(tmp_path: Path) -> None:
    home = tmp_path / "n1"
    home.mkdir()
    kept, orphan, foreign = (tmp_path / f"keepline-{name}-0" for name in ("k", "o", "f"))
    kept.write_bytes(begin_tail("k", str(home)))
    orphan.write_bytes(begin_tail("o", str(tmp_path / "gone")))
    foreign.write_bytes(b"something else")
    folder = Folder(home, tails=tmp_path)
    folder.sweep()
    assert orphan.exists()  # its disk may be away for a moment
    for path in (kept, orphan, foreign):
        os.utime(path, (time.time() - 7_200,) * 2)
    folder.sweep()
    assert (kept.exists(), orphan.exists(), foreign.exists()) == (True, False, True)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose node `a` has 200 KiB for its journals."""
    with small_disk(tmp_path / "journals" / "a", "200k"):
        yield tmp_path


async def test_a_disk_that_is_full_costs_the_journal_and_no_call(full_disk: Path) -> None:
    async with cluster(full_disk, ("a", "b"), journal="async") as two:
        first = await two.served("main", copies=2)
        first.host.post("main", Add("k", "op"))
        assert await first.host.committed("main")
        first.host.post("main", Fill(1_000, 500))
        await until(lambda: first.host.states()["main"].journal == "No space left on device")
        first.host.post("main", Add("k", "more"))
        assert await first.host.committed("main")
        left = first.host.journals.folder.newest("main", lambda what, **fields: None)
        assert left is None or left.flaw
        # The other one's disk is not full: the shard comes back from there.
        for name in ("a", "b"):
            await two.kill(name)
        await two.start("b")
        again = await two.served("main", copies=1, within_s=10)
        assert again.host.shard("main").records["k"].done == ["op", "more"]
