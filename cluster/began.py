"""The record that says how a shard began anew, until its machine has been told.

It lies among the shard's records, so whoever leads when the machine can be told finds it, also if
the node that began the shard has died before. It goes in the batch of the step that was told.
"""

import msgspec

from cluster.machine import ClusterLost, Promoted

KEY = "~began"
"""No machine has a record with this key."""


class Began(msgspec.Struct, array_like=True):
    """In `epoch` the shard began empty, or with records of a moment before."""

    epoch: int
    lost: bool
    records_wall_ms: int = 0

    def event(self, shard: str) -> ClusterLost | Promoted:
        """What the machine is told."""
        if self.lost:
            return ClusterLost(shard, self.epoch)
        return Promoted(shard, self.epoch, self.records_wall_ms)


_decoder = msgspec.msgpack.Decoder(Began)


def add(records: dict[str, bytes], began: Began) -> None:
    records[KEY] = msgspec.msgpack.encode(began)


def take(records: dict[str, bytes]) -> Began | None:
    """Its record out of these; None: the machine has been told, or there is nothing to tell."""
    data = records.pop(KEY, None)
    return None if data is None else _decoder.decode(data)
