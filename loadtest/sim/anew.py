"""A shard that began anew, out of no living copy: was that right?

With a snapshot or a journal it goes on with everything that was committed, and with what its writer
may have acknowledged besides; empty only if nothing is left; with less only by an operator's word.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster import began
from cluster.log import unpack
from cluster.messages import Batch
from cluster.store import ShardKey

if TYPE_CHECKING:
    from loadtest.sim.member import Member
    from loadtest.sim.rules import History
    from loadtest.sim.world import World


class Written:
    """All batches that actives have written, committed or not."""

    def __init__(self) -> None:
        self._batches: dict[tuple[str, int, int], list[Batch]] = {}

    def add(self, shard: str, birth: int, batch: Batch) -> None:
        self._batches.setdefault((shard, birth, batch.seq), []).append(batch)

    def between(
        self, shard: str, old: "History", end: int, records: Mapping[str, bytes]
    ) -> list[Batch] | None:
        """The batches up to number `end` that make these records of what was committed."""
        ways: list[tuple[list[Batch], dict[str, bytes]]] = [([], dict(old.records))]
        for seq in range(old.end + 1, end + 1):
            ways = [
                ([*way, batch], changed(made, batch))
                for way, made in ways
                for batch in self._batches.get((shard, old.birth, seq), ())
                if not way or batch.epoch >= way[-1].epoch
            ]
        return next((way for way, made in ways if made == records), None)


def changed(records: Mapping[str, bytes], batch: Batch) -> dict[str, bytes]:
    """The records after this batch."""
    after = dict(records)
    for key, value in unpack(batch.data):
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def judge(world: "World", member: "Member", old: "History", before: ShardKey) -> list[Batch] | None:
    """Accuse, if need be. What it went on with besides what was committed; None: with less.

    `before` is the key whose epoch ended.
    """
    accuse = world.rules.accuse
    core = member.shard.core
    shard, name = member.name, core.member
    told = began.take(dict(core.log.records))
    if told is None or told.epoch < core.epoch:  # of a beginning before this one, as yet untold
        is_stopped = before.snapshot is not None
        end = old.end if is_stopped or member.left is None else member.left.end
        tail = world.rules.written.between(shard, old, end, core.log.records)
        if tail is None:
            accuse(f"{shard}: {name} goes on with other records than were committed")
        world.tell(member.node, "went on from a snapshot" if is_stopped else "came back", shard)
        return tail or []
    living = [other for other in before.in_sync if world.member(other, shard) is not None]
    if living:
        accuse(f"{shard}: {name} takes over, not in sync, while {living} live")
    if not told.lost:
        if (shard, name) not in world.operator.promoted:
            accuse(f"{shard}: {name} goes on with less, and nobody has asked for that")
        world.tell(member.node, "went on with less", shard)
        world.promoted(member)
        return None
    for disk in world.disks_of(shard):
        left = disk.left()
        if left is not None and left.epoch < core.epoch:
            accuse(f"{shard}: {name} begins empty, and {disk.node} has {left.end} in its journal")
    world.tell(member.node, "lost", shard)
    world.lost(shard)
    return None
