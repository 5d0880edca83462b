"""Who tries to lead, and who does not."""

from collections.abc import Callable

from cluster.core import BEAT_TIMEOUT_MS, Core
from cluster.messages import CoreMessage, Hello
from cluster.roles import Found, Start
from cluster.snapshot import Snapshot
from cluster.store import Lost, ShardKey, Unknown, Won, encode_key


class Slow:
    """An outside whose store answers when the test says so."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.reads: list[Callable[[Found | None], None]] = []
        self.asked: list[bytes] = []

    def now_ms(self) -> int:
        return self.time_ms

    def wall_ms(self) -> int:
        return self.time_ms

    def send(self, node: str, message: CoreMessage) -> None:
        pass

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        pass

    def read(self, done: Callable[[Found | None], None]) -> None:
        self.reads.append(done)

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        self.asked.append(value)

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        pass

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        pass

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        pass

    def note(self, what: str, **fields: object) -> None:
        pass


class Nobody:
    """An owner who need not be told."""

    def elected(self, start: Start) -> None: ...
    def committed(self) -> None: ...
    def deposed(self) -> None: ...
    def hand_over_failed(self) -> None: ...


def test_whom_a_new_active_greets_while_he_reads_the_key_does_not_depose_it() -> None:
    outside = Slow()
    core = Core(
        shard="main",
        node="n1",
        incarnation="a",
        preferred=("n2", "n3", "n1"),
        copies=3,
        outside=outside,
        owner=Nobody(),
    )
    core.on("n2", Hello(1, "n2:b"))
    outside.time_ms = BEAT_TIMEOUT_MS
    core.tick()  # no beat of n2: it reads the key...
    core.on("n3", Hello(2, "n3:c"))  # ...and n3 was quicker
    (answer,) = outside.reads
    answer((7, encode_key(ShardKey(2, "n3:c", ("n3:c", core.member)))))

    assert outside.asked == []
