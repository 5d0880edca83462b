"""The coordination store: one key for each shard, changed by compare-and-set only.

`in_sync` and `epoch` share that key, so "shrink" and "take over" cannot both succeed.
"""

from collections.abc import AsyncGenerator, Sequence
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


Outcome = Won | Lost | Unknown


class Change(msgspec.Struct, frozen=True):
    """Store `value` if the key still has revision `rev`."""

    key: str
    rev: int
    value: bytes


class Changed(msgspec.Struct, frozen=True):
    """The key holds this since this revision; value None: it was removed, and `rev` is 0."""

    key: str
    rev: int
    value: bytes | None


class ListAnew(msgspec.Struct, frozen=True):
    """From here on nothing is missed; what was changed before is told by `list` alone."""


class StoreAway(Exception):
    """No answer in time. Reading again is safe."""


class StoreRefused(Exception):
    """It will not serve us, whenever we ask; the text is the one line a person needs."""


MEMBER_TTL_MS = 8_000
"""A node that ended without `close` is among `members` for so long. For display only: nothing that
must be right may depend on it."""
BEAT_MS = 2_000
"""It says so often that it is still there."""


class Store(Protocol):
    """Every call ends within the store's own deadline. Revision 0 means "no such key".

    A removed key may begin again at a revision that it had before: what is changed by
    compare-and-set is never removed.
    """

    async def open(self) -> None:
        """StoreRefused. A store that does not answer yet is no error: calls will tell."""

    async def close(self) -> None:
        """Ends `members`' entry too. May be called again; afterwards the store is away."""

    async def read_many(self, keys: Sequence[str]) -> list[tuple[int, bytes | None]]:
        """The newest value of each key. StoreAway when it cannot be told of all of them."""

    async def cas_many(self, changes: Sequence[Change]) -> list[Outcome]:
        """Carry out each change or not, each by itself, in few transactions. No key twice."""

    async def read(self, key: str) -> tuple[int, bytes | None]:
        """The newest value. StoreAway when it cannot be told."""
        (found,) = await self.read_many([key])
        return found

    async def cas(self, key: str, rev: int, value: bytes) -> Outcome:
        """Store `value` if the key still has revision `rev`."""
        (outcome,) = await self.cas_many([Change(key, rev, value)])
        return outcome

    async def list(self, prefix: str) -> dict[str, bytes]:
        """Keys that begin with `prefix`, in order. StoreAway when it cannot be told."""

    async def put(self, key: str, value: bytes) -> None:
        """Store without a condition (what is for display and judgement). StoreAway."""

    async def delete(self, key: str) -> None:
        """Remove without a condition (what tells of processes that are gone). StoreAway."""

    def watch(self, prefix: str) -> AsyncGenerator[Changed | ListAnew, None]:
        """What happens to keys that begin with `prefix`; `list` them at each ListAnew.

        ListAnew comes first, and again if the store has forgotten what happened while it was not
        reached. Else a lost connection or a killed server loses no key's newest change and tells
        none twice; of changes that followed one another quickly the store may tell the last only.
        """

    def attend(self, node: str, value: bytes) -> None:
        """Be among `members` from soon until `close`, however often the store is away meanwhile."""

    async def members(self) -> dict[str, bytes]:
        """The nodes that attend, and those that ended within MEMBER_TTL_MS. StoreAway."""

    def locked_ms(self) -> int:
        """How long the running change has been kept waiting by another process's lock; 0: not."""

    def silent_ms(self) -> int:
        """How long it has been asked without an answer; 0: it answers."""


class ShardKey(msgspec.Struct, frozen=True):
    """Who may acknowledge what in one shard: the value of its key."""

    epoch: int
    active: str
    """Member that leads `epoch`; "" after a clean stop."""
    in_sync: tuple[str, ...]
    """Members that hold everything acknowledged, the active first."""
    snapshot: str | None = None
    """After a clean stop: the snapshot that holds everything."""
    closed: int = 0
    """Nothing was left in it, and this version of the configuration has no such shard; 0: it is
    there. The key stays, so that a shard of that name goes on with the next epoch."""


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
    site: str = ""
    journals: str = ""
    """Folder of its journals; "": it keeps none."""


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
