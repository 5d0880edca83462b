"""What a standby is sent, how often, and what it takes."""

import pytest

from cluster.copy import Copy
from cluster.log import Log, pack
from cluster.messages import Ack, Append, Batch, CoreMessage, Hello, Position, Slice
from cluster.replicas import SAME_MS, Replicas, Standby


def test_a_standby_that_was_stopped_and_answers_every_hello_is_sent_what_it_lacks_once() -> None:
    sent: list[CoreMessage] = []
    log = Log(birth=1)
    for seq in range(1, 1_001):
        log.append(Batch(1, seq, pack([("x", b"1")])))
    log.commit_to(1_000)
    active = Replicas(
        1, "n1:a", log, {"n2": Standby("n2", 0)}, lambda _, message: sent.append(message), int
    )
    for n in range(100):
        active.hello("n2", 50 * n)
    sent.clear()

    for n in range(100):  # it goes on, and has read all hellos before anything else
        active.on_position("n2", Position(1, "n2:b", 1, 10), 8_000 + n // 2, may_replace=True)

    (append,) = sent
    assert isinstance(append, Append)
    assert len(append.batches) == 990

    active.on_position("n2", Position(1, "n2:b", 1, 10), 8_000 + SAME_MS, may_replace=True)
    assert len(sent) == 2  # it still lacks it

    active.hello("n2", 8_150)  # the connection was lost, and with it perhaps what was sent
    active.on_position("n2", Position(1, "n2:b", 1, 10), 8_151, may_replace=True)
    assert [type(message) for message in sent[2:]] == [Hello, Append]


def test_nor_is_its_snapshot_sent_again_for_each_answer() -> None:
    sent: list[CoreMessage] = []
    log = Log.restored(1, {f"key{n}": b"x" for n in range(1_000)})
    active = Replicas(
        1, "n1:a", log, {"n2": Standby("n2", 0)}, lambda _, message: sent.append(message), int
    )
    for n in range(100):
        active.on_position("n2", Position(1, "n2:b", 0, 0), 8_000 + n // 2, may_replace=True)

    assert [type(message) for message in sent] == [Slice] * 4


def slice_of(snapshot: int, base: int, number: int = 0, *, last: bool = True) -> Slice:
    data = pack([(f"s{number}", b"old")])
    return Slice(1, "n2:b", snapshot, number, 1, base, 1, data, last)


def append(first: int, last: int, *, commit: int) -> Append:
    batches = [Batch(1, seq, pack([(f"x{seq}", b"1")])) for seq in range(first, last + 1)]
    return Append(1, first - 1, 1, commit, 0, batches)


@pytest.mark.parametrize("commit", [12, 40])
@pytest.mark.parametrize("slices", [1, 2])
def test_a_snapshot_that_comes_late_takes_nothing_back_that_was_acknowledged(
    commit: int, slices: int
) -> None:
    """It had been sent before the link broke, and was read after all that the next one brought."""
    copy = Copy("n2:b")
    copy.on_slice(slice_of(1, 10))
    if slices == 2:
        copy.on_slice(slice_of(2, 27, last=False))  # half of it came in time
    answer = copy.on_append(append(11, 40, commit=commit))
    assert answer == Ack(1, "n2:b", 40)

    told = copy.on_slice(slice_of(2, 27, slices - 1))

    assert copy.log.end == 40
    assert isinstance(told, Position)
    assert told.commit + len(told.epochs) == 40
    assert copy.on_append(append(41, 41, commit=commit)) == Ack(1, "n2:b", 41)


@pytest.mark.parametrize(("birth", "base_epoch"), [(1, 2), (2, 1)])
def test_a_snapshot_replaces_a_copy_that_ends_otherwise_or_is_of_another_log(
    birth: int, base_epoch: int
) -> None:
    copy = Copy("n2:b")
    copy.on_slice(slice_of(1, 10))
    copy.on_append(append(11, 40, commit=12))
    copy.follow()

    copy.on_slice(Slice(2, "n2:b", 1, 0, birth, 27, base_epoch, pack([("y", b"new")]), last=True))

    assert (copy.log.end, copy.log.records) == (27, {"y": b"new"})
