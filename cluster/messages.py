"""What two nodes say to each other about one shard; `io/link.py` puts it into protobuf."""

import msgspec


class Batch(msgspec.Struct, gc=False):
    """The changed records of some steps, replicated as one. (epoch, seq) names it for ever."""

    epoch: int
    seq: int
    data: bytes
    """msgpack: [[key, bytes or nil], ...]; nil: deleted."""


class Hello(msgspec.Struct, frozen=True):
    """The active of `epoch` asks a node where it stands."""

    epoch: int
    active: str


class Position(msgspec.Struct, frozen=True):
    """What a member holds, in answer to Hello, or because it misses something."""

    epoch: int
    member: str
    birth: int
    """Epoch in which the log it follows was begun; 0: it holds nothing."""
    commit: int
    epochs: tuple[int, ...] = ()
    """Epochs of the batches above `commit`, in order."""
    snapshot: int = 0
    next_slice: int = 0


class Append(msgspec.Struct, gc=False):
    """Batches that follow number `previous`; without any it is a beat."""

    epoch: int
    previous: int
    previous_epoch: int
    commit: int
    stamp_ms: int
    batches: list[Batch]


class Ack(msgspec.Struct, gc=False):
    """Member holds everything up to `end` under `epoch`, or that much of a snapshot."""

    epoch: int
    member: str
    end: int
    snapshot: int = 0
    next_slice: int = 0


class Slice(msgspec.Struct, gc=False):
    """A part of a snapshot: committed records; the batches after `base` complete them."""

    epoch: int
    member: str
    snapshot: int
    number: int
    birth: int
    base: int
    base_epoch: int
    data: bytes
    last: bool
    stamp_ms: int = 0
    """Shard time; 0: the sender is of a version that does not say so."""


class Reject(msgspec.Struct, frozen=True):
    """The sender knows this higher epoch."""

    epoch: int


class HandOver(msgspec.Struct, frozen=True):
    """The active has stopped; everything up to `end` is committed: `member` takes over now."""

    epoch: int
    member: str
    end: int
    stays: bool = False
    """The old active keeps its copy and remains in in_sync."""


class Leaving(msgspec.Struct, frozen=True):
    """A standby is about to stop and wishes to be out of in_sync."""

    epoch: int
    member: str


class Release(msgspec.Struct, frozen=True):
    """The active of `epoch` asks the receiver to give up the shard's address."""

    epoch: int
    request: int
    inbox: str = ""
    """Where a process of the same host may pass the socket itself; "": it shall be closed."""


class Released(msgspec.Struct, frozen=True):
    """Done: nothing of ours is bound to the shard's address any more."""

    epoch: int
    request: int


class Prepare(msgspec.Struct, frozen=True):
    """The active of `epoch` will hand over to the receiver: it may get ready, meanwhile."""

    epoch: int
    request: int


class Prepared(msgspec.Struct, frozen=True):
    """Done: a hand-over takes no longer than it must."""

    epoch: int
    request: int


FromActive = Hello | Append | Slice | HandOver
ToActive = Position | Ack | Reject | Leaving
CoreMessage = FromActive | ToActive
Message = CoreMessage | Release | Released | Prepare | Prepared
