"""The person who says with whose records a shard goes on when nobody may go on by himself."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.roles import Follower
from cluster.store import decode_key

if TYPE_CHECKING:
    from loadtest.sim.member import Member
    from loadtest.sim.world import World

LOOK_MS = 400


class Operator:
    """Promotes the best that there is, once every node is up and each says that it waits."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.promoted: dict[tuple[str, str], None] = {}
        """Shards, and the members that were told to lead them."""
        world.at(LOOK_MS, self._look)

    def _look(self) -> None:
        world = self._world
        world.at(LOOK_MS, self._look)
        is_calm = not (world.paused or world.store.away or world.store.mute)
        if is_calm and len(world.alive) == len(world.names):
            for shard in world.shards:
                self._look_after(shard)

    def _look_after(self, shard: str) -> None:
        world = self._world
        key = decode_key(world.store.keys[shard][1])
        if key is None or not all(world.is_gone(member, shard) for member in key.in_sync):
            return
        offers: list[tuple[int, int, Member]] = []
        for member in world.members(shard):
            core = member.shard.core
            if not isinstance(core.role, Follower) or not core.role.stuck:
                return
            left = core.comeback.left
            if core.log.birth:
                offers.append((core.log.epoch_at(core.log.end) or 0, core.log.end, member))
            elif left is not None:
                offers.append((left.epoch, left.end, member))
        if not offers:
            world.rules.accuse(f"{shard}: nobody leads, and nobody has anything")
            return
        best = max(offers, key=lambda offer: offer[:2])[2]

        def done(why: str) -> None:
            world.tell(best.node, "not promoted" if why else "promoted", why or shard)

        best.process.at(0, lambda: self.promote(best, done))

    def promote(self, member: "Member", done: Callable[[str], None]) -> None:
        """Have this member lead its shard with what is there; then why not, or ""."""
        core = member.shard.core

        def answered(why: str) -> None:
            if not why:
                self.promoted[member.name, core.member] = None
            done(why)

        core.promote(answered)
