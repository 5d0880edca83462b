"""How shards end on a node: at its stop, where others take them or a snapshot stays; or for good.

Stepping and reading stop before anything is decided, and go on if nothing comes of it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.io.clock import now_ms
from cluster.io.handing import HAND_OVER_MS, HandOvers
from cluster.process import shard_key
from cluster.roles import Active, Follower
from cluster.runtime import Shard
from cluster.store import StoreAway, decode_key

if TYPE_CHECKING:
    from cluster.io.host import Host

STOP_MS = 3_000
LEAVE_MS = 50
"""A stopping standby looks so often whether it is out of in_sync."""
GATHER_LEAVERS_MS = 150
"""A stopping active waits so long for others that stop too, before it chooses a successor."""
LOOK_MS = 10


class Endings:
    """Those of one node."""

    def __init__(self, host: "Host", handing: HandOvers) -> None:
        self._host = host
        self._handing = handing

    # -- at the node's stop ------------------------------------------------------------------------

    async def leave_all(self) -> None:
        """Hand over what others can take, leave a snapshot of the rest: within about STOP_MS."""
        shards = self._host.shards.values()
        until_ms = now_ms() + STOP_MS
        gathered_ms = now_ms() + GATHER_LEAVERS_MS
        for shard in shards:
            shard.core.leave()
        await asyncio.gather(*(self._leave(shard, gathered_ms, until_ms) for shard in shards))

    async def _leave(self, shard: Shard, gathered_ms: int, until_ms: int) -> None:
        while now_ms() < until_ms:
            role = shard.core.role
            if isinstance(role, Active):
                if now_ms() < gathered_ms or not shard.serving:
                    await asyncio.sleep(LOOK_MS / 1000)
                elif successors := shard.core.successors():
                    if await self._handing.to(shard, successors[0]):
                        await self._handing.part(shard)
                elif not shard.hold() or not await self._snapshot(shard, until_ms):
                    await asyncio.sleep(LOOK_MS / 1000)
            elif isinstance(role, Follower):
                shard.core.leave()
                if not await self._counts_on_us(shard):
                    shard.retire()
                    return
                await asyncio.sleep(LEAVE_MS / 1000)
            else:
                if shard.state().role == "stopped":
                    shard.retire()
                    return
                await asyncio.sleep(LOOK_MS / 1000)

    async def _snapshot(self, shard: Shard, until_ms: int) -> bool:
        """False: it could not be written or named in the key."""
        stopped: asyncio.Future[bool] = self._host.loop.create_future()

        def answer(won: bool) -> None:
            if not stopped.done():
                stopped.set_result(won)

        shard.stop(answer)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0, until_ms - now_ms()) / 1000):
                return await stopped
        return False

    async def _counts_on_us(self, shard: Shard) -> bool:
        """Is this member still in in_sync? If the store does not say: perhaps."""
        try:
            _, value = await self._host.keys.read(shard_key(shard.name))
            key = decode_key(value)
        except (StoreAway, msgspec.DecodeError):
            return True
        return key is not None and shard.core.member in key.in_sync

    # -- for good ----------------------------------------------------------------------------------

    async def close(
        self, shard: Shard, version: int, is_over: Callable[[Mapping[str, Any]], bool]
    ) -> bool:
        """See `Host.close_shard`."""
        if not shard.serving or shard.held_up or not is_over(shard.records):
            return False
        on_held = self._host.specs[shard.name].on_held
        # Before stepping stops: what is read afterwards nobody would step on.
        on_held(shard.name, True)
        won = (
            await self._hold(shard) and is_over(shard.records) and await self._close(shard, version)
        )
        if not won and shard.serving:
            shard.go_on()
            on_held(shard.name, False)
        return won

    async def _hold(self, shard: Shard) -> bool:
        """Has it stopped stepping, with everything committed?"""
        until_ms = now_ms() + HAND_OVER_MS
        while not shard.hold():
            if now_ms() > until_ms or not shard.serving:
                return False
            await asyncio.sleep(LOOK_MS / 1000)
        return True

    async def _close(self, shard: Shard, version: int) -> bool:
        closed: asyncio.Future[bool] = self._host.loop.create_future()
        shard.close(version, lambda won: None if closed.done() else closed.set_result(won))
        return await closed
