"""The roles a member of a shard can have, and what the core needs from outside."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cluster.journal import Left
from cluster.messages import CoreMessage
from cluster.replicas import Replicas
from cluster.snapshot import Snapshot
from cluster.store import Lost, ShardKey, Unknown, Won

Found = tuple[int, bytes | None]
Decided = Callable[[bool, int, ShardKey | None], None]
"""Called once it is certain: whether our value stands, the revision, what stands there."""


@dataclass(slots=True, eq=False)
class Follower:
    """Takes what the active of `epoch` sends, and watches it."""

    heard_ms: int
    since_ms: int
    """When it began to wait for this leader."""
    leader: str = ""
    synced: bool = False
    """It told the leader where it stands."""
    campaign_at_ms: int | None = None
    turn: int = -1
    """Revision of the key for which it has waited for its turn."""
    reading: bool = False
    told_behind: bool = False
    """It said that the store is behind what this member knows."""
    stuck: bool = False
    """Nobody leads, and nobody may take the epoch before an operator says from where."""
    heard: int = 0
    """Messages of actives so far."""
    suspicion: tuple[str, int] | None = None
    """Why a new active is called for, and since when."""
    outside_ms: int | None = None
    """Since when it reads that its copy counts for nothing, and nobody sends it anything."""


@dataclass(slots=True, eq=False)
class Candidate:
    """Has asked the store for the next epoch; acknowledges nothing of an older one."""

    epoch: int
    old_node: str
    """Where the old active was; "" if there was none, or it asked for this itself."""


@dataclass(slots=True, eq=False)
class HandingOver:
    """The active has stopped stepping in favour of `member`."""

    member: str
    until_ms: int
    stays: bool
    """It will follow `member` with the copy it has; False: it is leaving."""


@dataclass(slots=True, eq=False)
class Active:
    """Leads this epoch."""

    rev: int
    key: ShardKey
    replicas: Replicas
    pending: tuple[str, ...] = ()
    """Acknowledgements wait for these too, before they are in in_sync."""
    changing: bool = False
    verifying: bool = False
    handing: HandingOver | None = None
    inherited: int = 0
    """The log's end when it began to lead: up to here others may have acknowledged."""


@dataclass(slots=True, eq=False)
class Stopped:
    """Left its records in a snapshot."""

    key: ShardKey | None


Role = Follower | Candidate | Active | Stopped


@dataclass(slots=True)
class Start:
    """What a new active begins with."""

    old_active: str = ""
    """The member that led before; "" if none did."""
    fresh: bool = False
    """Not out of this member's copy: empty, or out of `snapshot`."""
    lost: bool = False
    snapshot: Snapshot | None = field(default=None)
    promoted: bool = False
    """By an operator: `snapshot` may lack what was acknowledged last."""
    suspicion: tuple[str, int] = ("", 0)
    """What called for it, and when."""
    asked_ms: int = 0
    """When the store was asked for the epoch."""
    handed: bool = False
    """The old active asked for it: it was well a moment ago."""


class Outside(Protocol):
    """What `io/` or a simulator does for a core. No call answers before it returns."""

    def now_ms(self) -> int:
        """Monotonic, for this process."""

    def wall_ms(self) -> int:
        """Unix time."""

    def send(self, node: str, message: CoreMessage) -> None:
        """In order while the connection lasts; lost with it."""

    def later(self, delay_ms: int, call: Callable[[], None]) -> None: ...

    def note(self, what: str, **fields: object) -> None:
        """One line in the log."""

    def read(self, done: Callable[[Found | None], None]) -> None:
        """The shard's key; None: no answer in time."""

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None: ...

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        """Is the node's process gone? True only if the operating system says so."""

    def is_linked(self, member: str) -> bool:
        """Is there a connection with the very process of this member? It may hang all the same."""

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        """Is every one of these members' processes provably gone, and no journal left of the shard?

        None is left if no node that can be asked has one that brings anything.
        """

    def recover(self, done: Callable[[Left | None], None]) -> None:
        """Read what an earlier life of this node left of the shard; None: nothing."""

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None: ...


class Owner(Protocol):
    """Whom the core tells."""

    def elected(self, start: Start) -> None:
        """This member leads: move the address, then call `barrier`."""

    def committed(self) -> None:
        """The commit index has grown."""

    def deposed(self) -> None:
        """It no longer leads and has dropped its records."""

    def hand_over_failed(self) -> None:
        """The successor did not take over in time: this member still leads."""
