"""Carries the placement out, each active for its own shards.

Every node plans for all shards from the same store; of the plan it carries out what concerns the
shards it leads, and nobody else touches those: so two nodes never pull at one shard, and there is
no node whose loss stops the placement. Moves go one step at a time (`placement.next_step`): the new
copy is in sync before the shard is handed over, and the surplus copy goes last. While the store
does not answer nothing moves.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from cluster import orders
from cluster.fault import kind, place
from cluster.io.clock import now_ms
from cluster.placement import DEFAULT, Move, Policy, Shard, next_step, plan
from cluster.process import SHARD_KEYS
from cluster.roles import Active
from cluster.store import ShardKey, StoreAway, decode_key, node_of

if TYPE_CHECKING:
    from cluster.io.host import Host

ROUND_MS = 2_000
"""Planned again so often when nothing is to move..."""
BUSY_MS = 250
"""...and so often while something is, wherever: it goes on when others have done their part."""
PAUSE_MS = 100
"""At most so often: changes come in bunches."""
LOST_MS = 500
"""After a link broke: the takeovers come first."""


class Moving(msgspec.Struct, frozen=True):
    """A shard on its way, for whoever looks at it."""

    to: tuple[str, ...]
    """Nodes that get a copy, or the one that shall lead."""
    step: str
    """"copying", "handing over" or "dropping"."""
    percent: int
    why: str


class Placer:
    """The placement of the shards that one node leads."""

    def __init__(self, host: "Host", policy: Policy = DEFAULT) -> None:
        self._host = host
        self._policy = policy
        self._woken = asyncio.Event()
        self._moves: dict[str, Move] = {}
        self._is_busy = False
        """Something is to move, here or elsewhere."""
        self._since: dict[tuple[str, str], int] = {}
        """Since when a member of a shard that is led here has been in sync."""
        self._failed_at = ""
        """Where planning failed last: told once."""

    def start(self) -> None:
        self._host.spawn(self._run())

    def wake(self) -> None:
        """Something has changed: plan soon."""
        self._woken.set()

    def lost(self) -> None:
        """A link broke: plan, but not now."""
        self._host.loop.call_later(LOST_MS / 1000, self.wake)

    def moving(self) -> dict[str, Moving]:
        """By shard, of those led here: what is under way."""
        found = {}
        for name, move in self._moves.items():
            shard = self._host.shards.get(name)
            role = shard.core.role if shard is not None else None
            if isinstance(role, Active) and (moving := _moving(move, role)) is not None:
                found[name] = moving
        return found

    def elected(self, name: str, old_active: str) -> None:
        """This node leads the shard: until it is planned for, whoever held a copy shall hold one.

        Without an old active nobody did, and the core sees to it alone.
        """
        core = self._host.shard(name).core
        if old_active and core.key is not None:
            core.wanted = (*map(node_of, core.key.in_sync), node_of(old_active))

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout((BUSY_MS if self._is_busy else ROUND_MS) / 1000):
                    await self._woken.wait()
            self._woken.clear()
            await self._try_round()
            await asyncio.sleep(PAUSE_MS / 1000)

    async def _try_round(self) -> None:
        try:
            await self._round()
        except StoreAway:
            return
        except Exception as error:  # noqa: BLE001 - the boundary: all nodes plan the same, and a bug
            # in it would end all of them and every call, for the sake of a better place.
            self._moves = {}
            if (at := place(error)) != self._failed_at:
                self._host.note("placement failed", error=kind(error), at=at)
                self._failed_at = at

    async def _round(self) -> None:
        """StoreAway: nothing was changed."""
        host = self._host
        rows = await host.store.list(SHARD_KEYS)
        await host.nodes.look()
        if host.is_leaving or host.store.silent_ms():
            return
        keys: dict[str, ShardKey] = {}
        for row, value in rows.items():
            with suppress(msgspec.DecodeError):  # somebody else's
                key = decode_key(value)
                if key is not None and key.active:
                    keys[row.removeprefix(SHARD_KEYS)] = key
        await self._void()
        # From here to the end of `_place` no other task has its turn: the keys are as they are.
        led = self._led()
        keys |= led
        now = now_ms()
        nodes = host.nodes.roster.nodes(now)
        self._count(led, now)
        shards = [self._seen(name, key, now) for name, key in keys.items()]
        moves = plan(nodes, shards, self._policy)
        self._is_busy = bool(moves)
        self._moves = {move.shard: move for move in moves if move.shard in led}
        known = [node.name for node in nodes if not node.draining]
        due = [name for name, key in led.items() if self._place(name, key, known)]
        for name in due:
            move = self._moves[name]
            shard = host.shards.get(name)  # it may have gone while others were handed over
            if shard is not None and move.active in shard.core.successors():
                await host.hand_over(name, move.active)
                self.wake()

    async def _void(self) -> None:
        """Orders of epochs that are over say nothing any more."""
        for name, stay in self._host.nodes.staying.items():
            key = self._led().get(name)
            if key is not None and key.epoch > stay.epoch:
                await self._host.store.delete(orders.stay_key(name))

    def _led(self) -> dict[str, ShardKey]:
        """The keys of the shards that are served here."""
        found = {}
        for name, shard in self._host.shards.items():
            role = shard.core.role
            if isinstance(role, Active) and shard.serving:
                found[name] = role.key
        return found

    def _count(self, led: Mapping[str, ShardKey], now: int) -> None:
        pairs = [(name, member) for name, key in led.items() for member in key.in_sync]
        self._since = {pair: self._since.get(pair, now) for pair in pairs}

    def _seen(self, name: str, key: ShardKey, now: int) -> Shard:
        active = node_of(key.active)
        stay = self._host.nodes.staying.get(name)
        spec = self._host.specs.get(name)
        settled = [
            node_of(member)
            for member in key.in_sync
            if now - self._since.get((name, member), -1 << 40) >= self._policy.steady_ms
        ]
        return Shard(
            name,
            active,
            tuple(map(node_of, key.in_sync)),
            preferred=tuple(spec.preferred) if spec else (),
            weight=spec.weight if spec else 1,
            far=tuple(spec.far) if spec else (),
            ordered=stay is not None and (stay.node, stay.epoch) == (active, key.epoch),
            settled=tuple(settled),
        )

    def _place(self, name: str, key: ShardKey, known: Sequence[str]) -> bool:
        """Say where copies shall be. True: the shard is to be handed over now."""
        core = self._host.shard(name).core
        in_sync = tuple(map(node_of, key.in_sync))
        move = self._moves.get(name)
        if move is None:
            # Who held a copy and went has it again as soon as it is back.
            lost = [node for node in core.wanted or () if node in known and node not in in_sync]
            core.wanted = (*in_sync, *lost[: max(0, self._policy.copies - len(in_sync))])
            return False
        step = next_step(move, core.node, in_sync)
        core.wanted = step.copies
        return bool(step.hand_over_to)


def _moving(move: Move, role: Active) -> Moving | None:
    me = node_of(role.key.active)
    in_sync = [node_of(member) for member in role.key.in_sync]
    missing = tuple(node for node in move.holders if node not in in_sync)
    if missing:
        done = min(_percent(role, node) for node in missing)
        return Moving(missing, "copying", done, move.why.value)
    if move.active != me:
        return Moving((move.active,), "handing over", 100, move.why.value)
    surplus = tuple(node for node in in_sync if node not in move.holders)
    return Moving(surplus, "dropping", 100, move.why.value) if surplus else None


def _percent(role: Active, node: str) -> int:
    """How much of a copy a node has."""
    peer = role.replicas.peers.get(node)
    if peer is None or not peer.answered:
        return 0
    sending = peer.sending
    return 99 if sending is None else 99 * sending.acknowledged // sending.slices
