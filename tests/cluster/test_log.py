"""The log: what is kept, what is cut, what a snapshot holds."""

import pytest

from cluster.log import RECENT_BATCHES, Log, pack
from cluster.messages import Batch
from cluster.snapshot import BadSnapshot, Snapshot, decode_snapshot, encode_snapshot


def filled(count: int, *, epoch: int = 1, commit: int = 0) -> Log:
    log = Log(birth=1)
    for n in range(1, count + 1):
        log.append(Batch(epoch, n, pack([(f"k{n % 5}", b"%d" % n)])))
    log.commit_to(commit)
    return log


def test_only_what_is_committed_is_applied() -> None:
    log = filled(4, commit=2)
    assert log.records == {"k1": b"1", "k2": b"2"}
    assert log.at_end() == {"k1": b"1", "k2": b"2", "k3": b"3", "k4": b"4"}
    assert log.last_logged("k4") == b"4"
    assert [batch.seq for batch in log.tail()] == [3, 4]


def test_a_deleted_record_is_gone() -> None:
    log = filled(2, commit=2)
    log.append(Batch(1, 3, pack([("k1", None)])))
    assert log.last_logged("k1") is None
    log.commit_to(3)
    assert log.records == {"k2": b"2"}


def test_a_tail_that_the_new_active_lacks_is_cut_and_what_is_committed_never() -> None:
    log = filled(5, commit=2)
    log.cut(3)
    log.append(Batch(2, 4, b""))
    assert [log.epoch_at(n) for n in (1, 2, 3, 4, 5)] == [1, 1, 1, 2, None]
    with pytest.raises(AssertionError):
        log.cut(1)


def test_old_batches_are_dropped_unless_a_snapshot_needs_them() -> None:
    log = filled(3 * RECENT_BATCHES, commit=3 * RECENT_BATCHES)
    assert log.end - log.first + 1 == RECENT_BATCHES
    assert log.since(log.first - 2) is None
    assert log.epoch_at(log.first - 1) == 1

    log.pin = log.end
    start = log.end
    for n in range(start + 1, start + 2 * RECENT_BATCHES):
        log.append(Batch(1, n, b""))
    log.commit_to(log.end)
    kept = log.since(start)
    assert kept is not None
    assert len(kept) == log.end - start


def test_a_snapshot_that_was_cut_short_is_refused() -> None:
    data = encode_snapshot(Snapshot("main", 3, 1_000, 2_000, {"k": b"v"}))
    assert decode_snapshot(data).records == {"k": b"v"}
    for bad in (data[:-1], data[:10], b"", data[:40] + b"x" + data[41:]):
        with pytest.raises(BadSnapshot):
            decode_snapshot(bad)
