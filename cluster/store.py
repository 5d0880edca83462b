"""The coordination store: one key for each shard, changed by compare-and-set only.

`in_sync` and `epoch` share that key, so "shrink" and "take over" cannot both succeed.
"""

from typing import Protocol

import msgspec


class Won(msgspec.Struct, frozen=True):
    """The value was stored; its revision."""

    rev: int


class Lost(msgspec.Struct, frozen=True):
    """Another revision stood there: what it is and holds (None: no such key)."""

    rev: int
    value: bytes | None


class Unknown(msgspec.Struct, frozen=True):
    """No answer in time: stored, not stored, or still to be stored. Never repeat it blindly."""


class StoreAway(Exception):
    """A read got no answer in time. Reading again is safe."""


class Store(Protocol):
    """Every call ends within the store's own deadline. Revision 0 means "no such key"."""

    async def read(self, key: str) -> tuple[int, bytes | None]:
        """The newest value. StoreAway when it cannot be told."""

    async def cas(self, key: str, rev: int, value: bytes) -> Won | Lost | Unknown:
        """Store `value` if the key still has revision `rev`."""

    async def list(self, prefix: str) -> dict[str, bytes]:
        """Keys that begin with `prefix`, in order. StoreAway when it cannot be told."""

    async def put(self, key: str, value: bytes) -> None:
        """Store without a condition (membership, for display and judgement). StoreAway."""

    async def delete(self, key: str) -> None:
        """Remove without a condition (membership of processes that are gone). StoreAway."""

    def locked_ms(self) -> int:
        """How long the running change has been kept waiting by another process's lock; 0: not."""


class ShardKey(msgspec.Struct, frozen=True):
    """Who may acknowledge what in one shard: the value of its key."""

    epoch: int
    active: str
    """Member that leads `epoch`; "" after a clean stop."""
    in_sync: tuple[str, ...]
    """Members that hold everything acknowledged, the active first."""
    snapshot: str | None = None
    """After a clean stop: the snapshot that holds everything."""


_decoder = msgspec.json.Decoder(ShardKey)


def encode_key(key: ShardKey) -> bytes:
    return msgspec.json.encode(key)


def decode_key(data: bytes | None) -> ShardKey | None:
    """msgspec.ValidationError if it is not a shard key: somebody else wrote to the store."""
    return None if data is None else _decoder.decode(data)


class Process(msgspec.Struct, frozen=True):
    """One process of one node: what it takes to tell it from every other one, and to end it."""

    node: str
    incarnation: str
    pid: int
    start_time: int
    """Clock ticks after boot (field 22 of /proc/PID/stat): tells a reused pid."""
    host: str
    boot_id: str
    """Another one on the same host: the host was restarted."""
    address: str = ""
    started_ms: int = 0
    """Unix time in ms."""


def encode_process(process: Process) -> bytes:
    return msgspec.json.encode(process)


def decode_process(data: bytes) -> Process:
    return msgspec.json.decode(data, type=Process)


def member_id(node: str, incarnation: str) -> str:
    """`node:incarnation`: one life of a shard's memory."""
    return f"{node}:{incarnation}"


def node_of(member: str) -> str:
    return member.partition(":")[0]


def process_of(member: str) -> str:
    """The process's incarnation: a shard that dropped its memory adds `.1`, `.2`, ... to it."""
    return member.partition(":")[2].partition(".")[0]
