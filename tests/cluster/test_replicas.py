"""What a standby is sent, and how often."""

from cluster.log import Log, pack
from cluster.messages import Append, Batch, CoreMessage, Hello, Position, Slice
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
