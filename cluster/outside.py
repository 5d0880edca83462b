"""What a shard's runtime needs from outside, and what it tells about itself."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from cluster.roles import Outside as CoreOutside
from cluster.snapshot import Snapshot
from cluster.switch import Switch


class Outside(CoreOutside, Protocol):
    """What a shard needs from `io/` or from a simulator."""

    def random(self) -> bytes:
        """32 bytes."""

    def soon(self, call: Callable[[], None]) -> None:
        """In the next turn of the loop."""

    def gather(self, delay_ms: int) -> None:
        """Call `flush` of all this node's shards after so long, so that they share messages."""

    def perform(self, effect: Any) -> None:
        """A committed effect. It must not raise."""

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        """The shard's address comes here, from that member's node if it is still there."""

    def serving(self, *, lost: bool) -> None:
        """Barrier committed, records open: events may come."""

    def switched(self, switch: Switch) -> None:
        """How the takeover went that made this node active; told once it is over."""

    def deposed(self) -> None:
        """Let go of the address: another node leads."""

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        """Store it safely; its name."""

    def broken(self, error: BaseException) -> None:
        """An invariant of the log does not hold: stop the process; a standby carries on."""


class ShardState(msgspec.Struct, frozen=True):
    """What a shard is at the moment, for status and figures."""

    shard: str
    member: str
    role: str
    """"follower", "candidate", "active" or "stopped"."""
    epoch: int
    active: str
    """Member that leads, as this one last saw the key; current on the active itself."""
    in_sync: tuple[str, ...]
    """Likewise."""
    serving: bool
    seq: int
    commit: int
    records: int
    stuck: str = ""
    """Nobody leads, and an operator must say with whose records to go on: what is here."""
    journal: str = ""
    """Why its journal is not kept as it should be; "": it is, or is not wanted."""
    far: dict[str, int] = msgspec.field(default_factory=dict)
    """On the active: how many batches each far node that follows is behind."""
    snapshot_progress: int | None = None
    counters: dict[str, int] = msgspec.field(default_factory=dict)
