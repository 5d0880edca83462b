"""Planned hand-overs of the shards that one node leads.

The successor is told first and decodes what it holds, while this node goes on. Then stepping and
reading stop, the core names the successor, and either another one leads, or this node reads on.
"""

import asyncio
from typing import TYPE_CHECKING

from cluster import orders
from cluster.io.clock import now_ms
from cluster.messages import Prepare
from cluster.roles import Follower
from cluster.runtime import Shard

if TYPE_CHECKING:
    from cluster.io.host import Host

PREPARE_MS = 1_000
"""The successor has so long to get ready, while the old active goes on; then it does as it is."""
HAND_OVER_MS = 1_500
PART_MS = 200
"""A stopping active that handed over waits so long to be asked for the shard's address."""
LOOK_MS = 5


class HandOvers:
    """Those of one node."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._gave: dict[str, int] = {}

    async def to(self, shard: Shard, node: str) -> bool:
        """Let this node lead. False: it does not; then this one goes on, if no third one leads.

        Whoever asked may give up waiting; what has begun is seen to its end.
        """
        return await asyncio.shield(self._host.spawn(self._see_over(shard, node)))

    async def to_stay(self, shard: Shard, node: str) -> bool:
        """Let this node lead, and keep the shard until something else happens to it.

        False as in `to`. StoreAway: nothing was tried.
        """
        stay = orders.Stay(node, shard.core.epoch + 1)
        # Before the move: the new active may plan as soon as it leads.
        await self._host.store.put(orders.stay_key(shard.name), orders.encode(stay))
        return await self.to(shard, node)

    async def _see_over(self, shard: Shard, node: str) -> bool:
        role = shard.core.role
        if node in shard.core.successors():
            await self._host.ask(node, shard.name, Prepare, PREPARE_MS)
        until_ms = now_ms() + HAND_OVER_MS
        while not self._begin(shard, node):
            if now_ms() > until_ms or shard.core.role is not role:
                return _is_led_by(shard, node)  # somebody else has handed it over meanwhile
            await asyncio.sleep(LOOK_MS / 1000)
        while shard.core.role is role:
            if not shard.held_up:  # called off
                self._host.specs[shard.name].on_held(shard.name, False)
                return False
            await asyncio.sleep(LOOK_MS / 1000)
        return _is_led_by(shard, node)

    def _begin(self, shard: Shard, node: str) -> bool:
        if not shard.serving or shard.held_up or node not in shard.core.successors():
            return False
        # Before stepping stops: what is read afterwards would find nobody who steps.
        on_held = self._host.specs[shard.name].on_held
        on_held(shard.name, True)
        if not shard.hand_over(node):
            on_held(shard.name, False)
            return False
        return True

    # -- the address -------------------------------------------------------------------------------

    def gave(self, shard: str, epoch: int) -> None:
        """The active of this epoch asked for the shard's address and was given it."""
        self._gave[shard] = epoch

    async def part(self, shard: Shard) -> None:
        """The successor asks for the address: this process must still be there to give it."""
        until_ms = now_ms() + PART_MS
        while now_ms() < until_ms:
            if self._gave.get(shard.name, 0) >= shard.core.epoch:
                return
            await asyncio.sleep(LOOK_MS / 1000)


def _is_led_by(shard: Shard, node: str) -> bool:
    role = shard.core.role
    return isinstance(role, Follower) and role.leader == node
