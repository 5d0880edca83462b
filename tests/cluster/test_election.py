"""Who tries to lead, and who does not."""

from collections.abc import Callable

from cluster.core import Core
from cluster.journal import Left
from cluster.messages import CoreMessage, Hello
from cluster.roles import Found, Start
from cluster.snapshot import Snapshot
from cluster.store import Lost, ShardKey, Unknown, Won, encode_key
from cluster.suspicion import BEAT_TIMEOUT_MS


class Slow:
    """An outside whose store answers when the test says so."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.reads: list[Callable[[Found | None], None]] = []
        self.probes: list[Callable[[bool], None]] = []
        self.timers: list[Callable[[], None]] = []
        self.asked: list[bytes] = []

    def now_ms(self) -> int:
        return self.time_ms

    def wall_ms(self) -> int:
        return self.time_ms

    def send(self, node: str, message: CoreMessage) -> None:
        pass

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.timers.append(call)

    def read(self, done: Callable[[Found | None], None]) -> None:
        self.reads.append(done)

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        self.asked.append(value)

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        self.probes.append(done)

    def is_linked(self, member: str) -> bool:
        return False

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        pass

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        pass

    def recover(self, done: Callable[[Left | None], None]) -> None:
        pass

    def note(self, what: str, **fields: object) -> None:
        pass


class Nobody:
    """An owner who need not be told."""

    def elected(self, start: Start) -> None: ...
    def committed(self) -> None: ...
    def deposed(self) -> None: ...
    def hand_over_failed(self) -> None: ...


def follower(outside: Slow) -> Core:
    """n1, which follows n2."""
    core = Core(
        shard="main",
        node="n1",
        incarnation="a",
        preferred=("n2", "n3", "n1"),
        copies=3,
        outside=outside,
        owner=Nobody(),
    )
    core.link_up("n2")
    core.on("n2", Hello(1, "n2:b"))
    return core


def test_whom_a_new_active_greets_while_he_reads_the_key_does_not_depose_it() -> None:
    outside = Slow()
    core = follower(outside)
    outside.time_ms = BEAT_TIMEOUT_MS
    core.tick()  # no beat of n2: it reads the key...
    core.on("n3", Hello(2, "n3:c"))  # ...and n3 was quicker
    (answer,) = outside.reads
    answer((7, encode_key(ShardKey(2, "n3:c", ("n3:c", core.member)))))

    assert outside.asked == []


def test_a_dying_active_whose_port_still_answers_is_asked_again_before_beats_decide() -> None:
    outside = Slow()
    core = follower(outside)
    core.link_down("n2")
    outside.probes.pop()(False)
    outside.timers.pop()()
    assert outside.reads == []
    outside.probes.pop()(True)

    assert len(outside.reads) == 1


def test_an_active_whose_connection_stands_again_is_not_asked_again() -> None:
    outside = Slow()
    core = follower(outside)
    core.link_down("n2")
    outside.probes.pop()(False)
    core.link_up("n2")
    outside.timers.pop()()

    assert (outside.probes, outside.reads) == ([], [])
