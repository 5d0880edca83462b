"""The embedded server's control protocol: msgpack frames, each after its length in four bytes.

A connection starts with `Hello`; requests carry a number that their answer repeats, and may be
answered in any order. A node's newer connection replaces its older one, so what an abandoned
connection still holds is never executed late.
"""

from collections.abc import Iterator

import msgspec

from media_servers.verbs import Applied, Event, Reason, Session

MAX_FRAME = 262_144
"""Longest frame in bytes, either way; a longer one ends the connection."""


class BadFrame(Exception):
    """Not this protocol; the connection is of no more use."""


class Hello(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="hello"):
    """Who speaks, and the shards (with epochs) whose events it wants; replaces the last one."""

    node: str
    shards: dict[str, int]


class Apply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="apply"):
    n: int
    session: Session


class Delete(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="delete"):
    n: int
    shard: str
    epoch: int
    id: str


class Query(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="query"):
    """Which sessions of `shard` are there. An epoch given is an epoch seen."""

    n: int
    shard: str
    epoch: int | None


class Measure(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="measure"):
    """What was heard from the phones of a session; of the server as a whole if `id` is ""."""

    n: int
    id: str


Request = Hello | Apply | Delete | Query | Measure


class Welcome(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="welcome"):
    """`server` is new with each start of the server: then nothing of before is left."""

    server: str
    pid: int


class Done(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="done"):
    n: int
    applied: Applied | None


class No(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="no"):
    n: int
    reason: Reason
    detail: str


class Listed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="listed"):
    """Session ids, in slices that fit a frame; `more` follows in another `Listed` of the same n."""

    n: int
    counters: dict[str, int]
    more: bool


class Measured(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="measured"):
    n: int
    figures: dict[str, dict[str, float]]


class Happened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="happened"):
    shard: str
    event: Event


Reply = Welcome | Done | No | Listed | Measured | Happened

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """The message as it goes over the wire."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise BadFrame(f"{len(body)} bytes")
    return len(body).to_bytes(4, "big") + body


def request(body: bytes) -> Request:
    """The request in a frame's body; BadFrame if it is none."""
    try:
        return _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFrame(str(error)) from error


def reply(body: bytes) -> Reply:
    """The reply in a frame's body; BadFrame if it is none."""
    try:
        return _replies.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFrame(str(error)) from error


class Frames:
    """Cuts a byte stream into frames. Holds at most one unfinished frame and what came with it."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        del self._bytes[: self._at]
        self._at = 0
        self._bytes += data

    def __iter__(self) -> Iterator[bytes]:
        """The bodies of complete frames, each handed out once. BadFrame if one is too long."""
        while (body := self.take()) is not None:
            yield body

    def take(self) -> bytes | None:
        """The next complete body; None if there is none yet."""
        start = self._at + 4
        if len(self._bytes) < start:
            return None
        size = int.from_bytes(self._bytes[self._at : start], "big")
        if size > MAX_FRAME:
            raise BadFrame(f"a frame of {size} bytes")
        if len(self._bytes) < start + size:
            return None
        self._at = start + size
        return bytes(self._bytes[start : self._at])
