"""A journal's bytes: what is read of them, however much of them is there."""

import contextlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.journal import (
    MAGIC,
    BadJournal,
    Base,
    Begin,
    Entry,
    Facts,
    Kept,
    Left,
    Part,
    begin_tail,
    begins,
    frame,
    newest,
    read_journal,
)
from cluster.log import pack

PLACE, BOOT = "host:17", "boot 1"


def begin(*, sync: bool = False) -> Begin:
    return Begin("main", "n1:abc", "17ab", sync, PLACE, BOOT)


def kept(*seqs: int, epoch: int = 3, commit: int = 0) -> Kept:
    batches = [(epoch, seq, pack([(f"k{seq}", b"v%d" % epoch)])) for seq in seqs]
    return Kept(batches, commit, epoch, 50_000 + max(seqs, default=0), 1_700_000_000_000)


def entries(*, sync: bool = False) -> list[Entry]:
    """Three records as of number 10, and batches up to 14."""
    return [
        begin(sync=sync),
        Part(pack([("a", b"1"), ("b", b"2")])),
        Part(pack([("c", b"3")])),
        Base(1, 10, 2, 3, kept(11, commit=10)),
        Facts(3, ("n1:abc", "n2:def")),
        kept(12, 13, commit=11),
        kept(14, commit=13),
    ]


def written(found: Sequence[Entry]) -> bytes:
    return MAGIC + b"".join(frame(number, entry) for number, entry in enumerate(found))


def tail(first: int, found: Sequence[Entry]) -> bytes:
    head = begin_tail("17ab", "/data")
    return head + b"".join(frame(number, entry) for number, entry in enumerate(found, first))


NO_TAILS: list[bytes | None] = [begin_tail("17ab", "/data"), b""]


def read(
    disk: bytes, tails: Sequence[bytes | None] = NO_TAILS, *, place: str = PLACE, boot: str = BOOT
) -> Left | None:
    return read_journal(disk, lambda id: tails if id == "17ab" else [], place=place, boot_id=boot)


def test_what_was_written_is_read() -> None:
    left = read(written(entries()))
    assert left is not None
    assert left.snapshot is not None
    assert left.snapshot.records == {
        "a": b"1", "b": b"2", "c": b"3", "k11": b"v3", "k12": b"v3", "k13": b"v3", "k14": b"v3",
    }  # fmt: skip
    assert (left.member, left.epoch, left.end, left.commit) == ("n1:abc", 3, 14, 13)
    assert (left.in_sync, left.in_sync_epoch) == (("n1:abc", "n2:def"), 3)
    assert (left.snapshot.shard_ms, left.wall_ms) == (50_014, 1_700_000_000_000)
    assert (left.torn, left.flaw) == (0, "")


def test_a_batch_that_another_active_replaced_is_not_read() -> None:
    found = [*entries(), kept(14, 15, epoch=4)]
    left = read(written(found))
    assert left is not None
    assert left.snapshot is not None
    assert (left.end, left.epoch) == (15, 4)
    assert left.snapshot.records["k14"] == b"v4"


@pytest.mark.parametrize("sync", [False, True])
def test_torn_at_any_byte_it_opens_up_to_the_last_whole_record_and_says_so(sync: bool) -> None:
    found = entries(sync=sync)
    data = written(found)
    ends = [len(MAGIC)]
    for number, entry in enumerate(found):
        ends.append(ends[-1] + len(frame(number, entry)))
    for cut in range(len(data) + 1):
        left = read(data[:cut])
        whole = sum(end <= cut for end in ends) - 1
        if whole < 4:  # its checkpoint is not there: it brings nothing
            assert left is None
            continue
        assert left is not None
        assert left.end == {4: 11, 5: 11, 6: 13, 7: 14}[whole]
        assert left.torn == cut - ends[whole]
        assert left.flaw == ""  # nothing was acknowledged that is not written


def test_a_changed_byte_is_found_wherever_it_is() -> None:
    data = written(entries(sync=True))
    last = len(data) - len(frame(6, entries()[6]))
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        try:
            left = read(changed)
        except BadJournal:
            assert at < last
            continue
        # In its last record it looks like an end that was never written.
        if left is not None:
            assert left.flaw.startswith("it is damaged") or at >= last
            assert left.end < 14


@given(st.binary(max_size=400), st.integers(0, 2_000))
@settings(max_examples=300)
def test_nothing_that_can_lie_on_a_disk_breaks_the_reader(noise: bytes, at: int) -> None:
    data = written(entries())
    for bad in (noise, MAGIC + noise, data[:at] + noise, data[:at] + noise + data[at:]):
        for tails in (NO_TAILS, [noise, None], [tail(7, [kept(15)]) + noise, noise]):
            with contextlib.suppress(BadJournal):
                read(bad, tails)
            begins(bad)


# -- tails ---------------------------------------------------------------------------------------


def test_what_is_not_on_the_disk_yet_is_in_the_tails() -> None:
    more: list[Entry] = [kept(15), kept(16), kept(17)]
    disk = written(entries())
    for split in range(4):
        older, newer = tail(7, more[:split]), tail(7 + split, more[split:])
        for order in ([older, newer], [newer, older]):
            left = read(disk, order)
            assert left is not None
            assert (left.end, left.flaw) == (17, "")


def test_a_tail_may_hold_what_came_to_the_disk_meanwhile() -> None:
    disk = written([*entries(), kept(15)])
    left = read(disk, [tail(5, [kept(12, 13), kept(14), kept(15), kept(16)]), b""])
    assert left is not None
    assert (left.end, left.flaw) == (16, "")


def test_the_checkpoint_itself_may_end_in_a_tail() -> None:
    found = entries()
    left = read(written(found[:3]), [tail(3, found[3:]), begin_tail("17ab", "/data")])
    assert left is not None
    assert (left.end, left.flaw) == (14, "")


def test_without_both_tails_it_says_that_it_may_lack_something() -> None:
    whole = begin_tail("17ab", "/data")
    for tails in ([None, None], [whole, None], [None, whole]):
        left = read(written(entries()), tails)
        assert left is not None
        assert left.flaw == "its newest part was in memory that is gone"
        left = read(written(entries()), tails, boot="boot 2")
        assert left is not None
        assert left.flaw == "the host was restarted before it was on the disk"


def test_a_restart_of_the_host_is_seen_even_if_the_tails_survived_it() -> None:
    left = read(written(entries()), boot="boot 2")
    assert left is not None
    assert left.flaw == "the host was restarted before it was on the disk"


def test_a_gap_between_disk_and_tails_is_found() -> None:
    left = read(written(entries()), [tail(8, [kept(16)]), b""])
    assert left is not None
    assert (left.end, left.flaw) == (14, "something is missing in it")


def test_tails_of_another_journal_are_not_read() -> None:
    other = begin_tail("other", "/data") + frame(7, kept(15))
    left = read(written(entries()), [other, b""])
    assert left is not None
    assert left.end == 14


def test_a_torn_tail_was_never_acknowledged() -> None:
    torn = tail(7, [kept(15), kept(16)])
    for cut in range(len(torn)):
        left = read(written(entries()), [torn[:cut], b""])
        assert left is not None
        assert left.end in (14, 15)
        assert left.flaw == ""


# -- which one is believed -----------------------------------------------------------------------


def test_a_copy_of_a_journal_is_not_believed() -> None:
    left = read(written(entries(sync=True)), place="host:18")
    assert left is not None
    assert left.flaw == "it was copied to where it is"


def test_a_synced_journal_is_believed_after_a_restart_of_the_host() -> None:
    left = read(written(entries(sync=True)), [None, None], boot="boot 2")
    assert left is not None
    assert left.flaw == ""


def test_the_newest_that_brings_anything_is_read_and_what_cannot_be_read_is_told() -> None:
    notes: list[str] = []

    def note(what: str, **fields: object) -> None:
        notes.append(f"{what} {fields}")

    def bad() -> Left | None:
        raise BadJournal("its frames do not fit together")

    def journal(found: Sequence[Entry]) -> Callable[[], Left | None]:
        return lambda: read(written(found))

    begun = journal(entries()[:2])
    left = newest([("3", begun), ("2", journal(entries())), ("1", bad)], note)
    assert left is not None
    assert (left.end, left.flaw, notes) == (14, "", [])

    left = newest([("3", bad), ("2", journal(entries()))], note)
    assert left is not None
    assert left.flaw == "a newer one, 3, cannot be read"
    assert notes == ["journal not read {'file': '3', 'error': 'its frames do not fit together'}"]
    assert newest([("3", begun)], note) is None
