"""What a clean stop leaves: all records of a shard, and the time they were in."""

from zlib import crc32

import msgspec

MAGIC = b"keepline snapshot 1\n"


class Snapshot(msgspec.Struct):
    """Everything committed when the last active stopped."""

    shard: str
    epoch: int
    shard_ms: int
    wall_ms: int
    records: dict[str, bytes]


class BadSnapshot(Exception):
    """These bytes are not a whole snapshot."""


_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    body = msgspec.msgpack.encode(snapshot)
    return MAGIC + crc32(body).to_bytes(4, "big") + body


def decode_snapshot(data: bytes) -> Snapshot:
    """BadSnapshot if it was cut short or changed."""
    start = len(MAGIC)
    body = data[start + 4 :]
    if not data.startswith(MAGIC) or crc32(body) != int.from_bytes(data[start : start + 4], "big"):
        raise BadSnapshot("not a whole snapshot")
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadSnapshot(str(error)) from error
