"""What operators ordered of the placement: nodes that drain, shards that stay where they were put.

Both stand in the store under PLACING_KEYS. That a shard stays ends by itself: the order names the
epoch that it began, and in the next one, however that came about, it is placed like any other.
"""

from collections.abc import Mapping

import msgspec

PLACING_KEYS = "placing/"
_DRAIN = f"{PLACING_KEYS}drain/"
_STAY = f"{PLACING_KEYS}stay/"


class Drain(msgspec.Struct, frozen=True):
    """The node shall lead nothing and, if others can, hold nothing."""

    since_ms: int
    """Unix time in ms."""


class Stay(msgspec.Struct, frozen=True):
    """A switchover put the shard there: it stays while this epoch lasts."""

    node: str
    epoch: int


class Orders(msgspec.Struct, frozen=True):
    """All that stand."""

    draining: dict[str, Drain]
    staying: dict[str, Stay]


def drain_key(node: str) -> str:
    return f"{_DRAIN}{node}"


def stay_key(shard: str) -> str:
    return f"{_STAY}{shard}"


def encode(order: Drain | Stay) -> bytes:
    return msgspec.json.encode(order)


def read(rows: Mapping[str, bytes]) -> Orders:
    """The orders in these rows; what is none, somebody else wrote."""
    draining: dict[str, Drain] = {}
    staying: dict[str, Stay] = {}
    for key, value in rows.items():
        try:
            if key.startswith(_DRAIN):
                draining[key.removeprefix(_DRAIN)] = msgspec.json.decode(value, type=Drain)
            elif key.startswith(_STAY):
                staying[key.removeprefix(_STAY)] = msgspec.json.decode(value, type=Stay)
        except msgspec.DecodeError:
            continue
    return Orders(draining, staying)
