"""Who of a shard's members is still there, and what is left of it, here and elsewhere.

Everything that is asked of other processes has a deadline; whoever does not answer is taken for
alive where it must be proved that he is gone, and for not heard where a person decides.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from cluster.io import clock
from cluster.io.link import Present
from cluster.io.process import host_id, is_gone
from cluster.process import shard_key
from cluster.promotion import Offer
from cluster.roles import Active
from cluster.runtime import Shard
from cluster.store import Process, ShardKey, decode_key, node_of, process_of

if TYPE_CHECKING:
    from cluster.io.host import Host

TICK_S = 0.02
PROMOTED_S = 5.0
"""A node that was promoted serves by then, or cannot."""


class NodeTaken(OSError):
    """Another process is this node; the text is the one line a person needs."""


class Survivors:
    """One node's view of them."""

    def __init__(self, host: "Host") -> None:
        self._host = host

    async def find_twin(self) -> None:
        """NodeTaken if another process of this node's name runs."""
        host = self._host
        for process in await host.all_processes():
            if process.node != host.node or process.incarnation == host.incarnation:
                continue
            where = f"{process.address} on host {process.host}"
            if process.host == host_id():
                if process.pid != os.getpid() and not is_gone(process):
                    raise NodeTaken(
                        f"node {host.node} runs already as process {process.pid}, {where}"
                    )
            elif process.address:
                found = await host.links.ask(process.address, "")
                if found is not None and (found.node, found.incarnation) == (
                    process.node,
                    process.incarnation,
                ):
                    raise NodeTaken(f"node {host.node} runs already: it answers at {where}")

    async def who(self, shard: str) -> Present:
        """What this node answers to others."""
        host = self._host
        member, has_journal = "", False
        if shard in host.states():
            member = host.shard(shard).core.member
            has_journal = await host.journals.recover(shard) is not None
        return Present(host.node, host.incarnation, member, has_journal)

    async def gone(self, shard: Shard, members: Sequence[str]) -> bool:
        """Is the process, or the life of the shard in it, of every member provably gone?

        And with journals: does nobody who can be asked have one that brings anything?
        """
        host = self._host
        if not await host.nodes.are_gone(members, shard.core.member):
            return False
        if host.journals.mode == "off":
            return True
        return not await self._is_left(shard.name, list(host.nodes.processes.values()))

    async def _is_left(self, shard: str, processes: Sequence[Process]) -> bool:
        host = self._host
        folders = {
            process.journals: None
            for process in processes
            if process.journals and process.host == host_id() and process.node != host.node
        }
        for folder in folders:
            if await host.journals.is_left(shard, folder):
                return True
        up = [node for node in host.addresses if node != host.node and host.links.is_up(node)]
        answers = await asyncio.gather(
            *(host.links.ask(host.addresses[node], shard) for node in up)
        )
        return any(answer is None or answer.has_journal for answer in answers)

    # -- promotion ---------------------------------------------------------------------------------

    async def offer(self, name: str) -> Offer:
        """What this node could bring of the shard, and what speaks against it. StoreAway."""
        host = self._host
        shard = host.shard(name)
        core = shard.core
        _, value = await host.store.read(shard_key(name))
        try:
            key = decode_key(value)
        except msgspec.DecodeError:
            key = None
        offer = Offer(shard=name, node=host.node, now_wall_ms=clock.wall_ms())
        if key is not None:
            offer.key_epoch, offer.in_sync = key.epoch, key.in_sync
            await self._look_for(key, offer)
        if isinstance(core.role, Active):
            offer.leader = host.node
        elif core.log.birth:
            offer.source = "copy"
            offer.epoch, offer.end = core.log.epoch_at(core.log.end) or 0, core.log.end
            offer.records = len(core.log.at_end())
            offer.wall_ms = offer.now_wall_ms - max(0, clock.now_ms() - core.heard_ms)
        elif (left := await host.journals.recover(name)) is not None:
            offer.source = "journal"
            offer.epoch, offer.end, offer.records = left.epoch, left.end, left.records
            offer.wall_ms, offer.flaw = left.wall_ms, left.flaw
        return offer

    async def _look_for(self, key: ShardKey, offer: Offer) -> None:
        """Which members in sync are alive, and which are not heard."""
        host = self._host
        processes = {(p.node, p.incarnation): p for p in await host.all_processes()}
        for member in key.in_sync:
            node, incarnation = node_of(member), process_of(member)
            process = processes.get((node, incarnation))
            if node == host.node:
                if member == host.shard(offer.shard).core.member:
                    offer.alive.append(member)
                continue
            answer = None
            if node in host.addresses:
                answer = await host.links.ask(host.addresses[node], offer.shard)
            if answer is not None:
                if answer.member == member:
                    offer.alive.append(member)
                    offer.leader = node if member == key.active else offer.leader
            elif process is None or process.host != host_id():
                offer.not_heard.append(member)
            elif process.pid != os.getpid() and not is_gone(process):
                offer.alive.append(member)  # it hangs, and may go on at any moment

    async def promote(self, name: str) -> str:
        """Lead the shard with what is here. Why not, or "" when it serves."""
        host = self._host
        shard = host.shard(name)
        asked: asyncio.Future[str] = host.loop.create_future()

        def done(why: str) -> None:
            if not asked.done():
                asked.set_result(why)

        shard.core.promote(done)
        try:
            async with asyncio.timeout(PROMOTED_S):
                why = await asked
                while not why and not shard.serving:  # noqa: ASYNC110 - the core tells nobody
                    await asyncio.sleep(TICK_S)
                return why
        except TimeoutError:
            return f"it does not serve after {PROMOTED_S:g} s"
