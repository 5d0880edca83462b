"""The ring of SIP messages that a node saw last: what `keepline trace` shows of this node.

Bounded and never replicated; after a takeover the old node's part is gone with it.
"""

from collections import deque
from typing import Any

from cluster.io.clock import wall_ms

RING = 20_000
"""Messages kept."""
KEPT_BYTES = 4_096
"""So much of a message is kept: the ring must not hold RING datagrams of 64 kB."""
SHOWN_BYTES = 2_000
"""So much of it is shown: the rest of a long body says little."""


class MessageRing:
    """The last RING datagrams of a node, both ways."""

    def __init__(self) -> None:
        self._ring: deque[tuple[int, str, str, tuple[str, int], bytes]] = deque(maxlen=RING)

    def saw(self, shard: str, way: str, datagram: bytes, peer: tuple[str, int]) -> None:
        """`way` is "in" or "out"."""
        if len(datagram) > KEPT_BYTES:
            datagram = datagram[:KEPT_BYTES]
        self._ring.append((wall_ms(), shard, way, peer, datagram))

    def of(self, call_ids: set[str], node: str) -> list[dict[str, Any]]:
        """What is left of these dialogs, in order of time."""
        wanted = [call_id.encode("latin-1") for call_id in call_ids if call_id]
        return [
            {
                "wall_ms": wall_ms,
                "node": node,
                "shard": shard,
                "way": way,
                "peer": f"{peer[0]}:{peer[1]}",
                "message": datagram[:SHOWN_BYTES].decode("latin-1"),
            }
            for wall_ms, shard, way, peer, datagram in list(self._ring)
            if any(call_id in datagram for call_id in wanted)
        ]
