"""How a shard begins again that nobody leads and whose copies in memory are all gone.

Only a holder of everything that was acknowledged may take the epoch by itself. There are three:

- whoever reads the snapshot that a clean stop named in the key;
- whoever reads the journal of a member of in_sync, if it lacks nothing (`Left.flaw`). What that
  member acknowledged is in it, and it acknowledges nothing any more: its process is gone, for the
  journal's lock is ours. So its reader may do what the member might have done, also while others of
  in_sync are alive: it is as if the member had been suspended for a while;
- anybody, if nothing is left anywhere: then it begins empty and says that all is lost.

Else the shard waits until an operator says whose copy or journal it shall go on with (`promote`).
That may lack what was acknowledged last, and the machine is told.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.journal import Left
from cluster.roles import Follower, Found, Outside, Start
from cluster.snapshot import Snapshot
from cluster.store import ShardKey, decode_key

if TYPE_CHECKING:
    from cluster.core import Core

CREATE_MS = 1_500
"""Nodes that may create or restart a shard try this far apart, the preferred one first."""
STUCK_MS = 2_500
"""For so long somebody else may yet come with what it takes: no need to tell anybody."""
RECOVER_MS = 300
"""Likewise those whose journals lack nothing: each is as good as the other."""
SNAPSHOT_MS = 3_000
"""A stopped shard whose snapshot no node could read for this long starts without it."""


class Comeback:
    """One member's way to begin a shard again."""

    def __init__(self, core: "Core", outside: Outside) -> None:
        self._core = core
        self._outside = outside
        self.left: Left | None = None
        """What an earlier life of this node left, once that was looked at."""
        self._looked: Follower | None = None  # the role it was looked at for

    @property
    def _turn(self) -> int:
        """Its place among those that try one after the other."""
        return self._core._rank(self._core.node)

    def created(self, role: Follower, rev: int) -> None:
        """The store has no such shard: begin it, if we know of none either."""
        if self._looked is not role:
            self._look(role, lambda: self.created(role, rev))
        elif self.left is None:
            self._core._take(rev, ShardKey(0, "", ()), Start(fresh=True))
        else:
            # As with any store that went back: nothing safe can be decided by what it holds now.
            self._core.epoch = max(self._core.epoch, self.left.epoch)

    def stopped(self, role: Follower, rev: int, key: ShardKey) -> None:
        """The shard was stopped cleanly: go on from its snapshot."""
        if key.snapshot is None:
            self._core._take(rev, key, Start(fresh=True, lost=True))
            return
        role.reading = True

        def loaded(snapshot: Snapshot | None) -> None:
            if self._core.role is not role:
                return
            role.reading = False
            if snapshot is not None and snapshot.epoch == key.epoch:
                self._core._take(rev, key, Start(fresh=True, snapshot=snapshot))
                return
            now_ms = self._outside.now_ms()
            if now_ms - role.since_ms < SNAPSHOT_MS:  # another node may have it
                role.campaign_at_ms = now_ms + CREATE_MS
            else:
                without_it()

        def without_it() -> None:
            if self._looked is not role:
                self._look(role, without_it)
            elif self.left is not None:
                self._wait(role, key)
            else:
                self._core._take(rev, key, Start(fresh=True, lost=True))

        self._outside.load(key.snapshot, loaded)

    def orphaned(self, role: Follower, rev: int, key: ShardKey) -> None:
        """Nobody leads, and we hold nothing that counts."""
        left = self.left
        if self._looked is not role:
            self._look(role, lambda: self.orphaned(role, rev, key))
        elif left is not None and left.epoch > key.epoch:
            self._core.epoch = max(self._core.epoch, left.epoch)  # the store went back in time
        elif left is not None and _lacks_nothing(left, key):
            if left.snapshot is None:  # it waited, and a change of the key came late
                self._looked = None
                self.orphaned(role, rev, key)
                return
            now_ms = self._outside.now_ms()
            if self._core._has_turn(role, rev, self._turn * RECOVER_MS, now_ms):
                role.suspicion = ("every copy died; its journal", now_ms)
                start = Start(old_active=key.active, fresh=True, snapshot=left.snapshot)
                self.left = self._looked = None
                self._core._take(rev, key, start)
        elif left is not None or self._core.node in self._core.far:
            self._wait(role, key)
        else:
            self._begin_empty(role, rev, key)

    def _look(self, role: Follower, then: Callable[[], None]) -> None:
        """What did an earlier life leave? That changes no more while we have no copy."""
        role.reading = True

        def read(left: Left | None) -> None:
            if self._core.role is not role:
                return
            role.reading = False
            self._looked = role
            self.left = left
            role.heard_ms = self._outside.now_ms()
            then()

        self._outside.recover(read)

    def _begin_empty(self, role: Follower, rev: int, key: ShardKey) -> None:
        role.reading = True

        def judged(all_gone: bool) -> None:
            if self._core.role is not role:
                return
            role.reading = False
            now_ms = self._outside.now_ms()
            role.heard_ms = now_ms
            wait_ms = self._turn * CREATE_MS
            if not all_gone:
                self._wait(role, key)
            elif self._core._has_turn(role, rev, wait_ms, now_ms):
                start = Start(old_active=key.active, fresh=True, lost=True)
                self._core._take(rev, key, start)

        self._outside.gone(key.in_sync, judged)

    def _wait(self, role: Follower, key: ShardKey) -> None:
        """Nothing that is here may be gone on with; perhaps somebody else comes."""
        role.heard_ms = self._outside.now_ms()
        if self.left is not None:
            self.left.snapshot = None
        if role.stuck or role.heard_ms - role.since_ms < STUCK_MS:
            return
        if not any(map(self._outside.is_linked, key.in_sync)):  # else it is led, and not for us
            role.stuck = True
            self._outside.note(
                "shard waits",
                shard=self._core.shard,
                epoch=key.epoch,
                in_sync=" ".join(key.in_sync),
                here=self.here(),
            )

    def here(self) -> str:
        """What is here of a shard that waits, in words."""
        left, log = self.left, self._core.log
        if log.birth:
            return f"a copy: epoch {log.epoch_at(log.end) or 0} up to number {log.end}"
        if left is None:
            return "nothing"
        why = left.flaw or "it was not in sync when the shard ended"
        return f"epoch {left.epoch} up to number {left.end}; {why}"

    # -- by order of an operator -------------------------------------------------------------------

    def promote(self, role: Follower, done: Callable[[str], None]) -> None:
        """Take the epoch with what is here, whatever it lacks; then why not, or ""."""
        outside, core = self._outside, self._core

        def found(stands: Found | None) -> None:
            key = None if stands is None else decode_key(stands[1])
            if core.role is not role:
                done("it is led again")
            elif stands is None or key is None or key.epoch < core.epoch:
                done("the store does not answer, or knows less than this node")
            elif core.log.birth:
                self._go_on_with(role, stands[0], key, self._own_copy())
                done("")
            else:
                outside.recover(lambda left: read(left, stands[0], key))

        def read(left: Left | None, rev: int, key: ShardKey) -> None:
            if core.role is not role:
                done("it is led again")
            elif left is None or left.snapshot is None:
                done("there is no journal of it")
            elif left.epoch > key.epoch:
                done("the store knows less than its journal")
            else:
                self._go_on_with(role, rev, key, left.snapshot)
                done("")

        outside.read(found)

    def _own_copy(self) -> Snapshot:
        outside, core = self._outside, self._core
        core.clock.lead(outside.now_ms())
        shard_ms = core.clock.now(outside.now_ms())
        log = core.log
        return Snapshot(core.shard, core.epoch, shard_ms, outside.wall_ms(), log.at_end())

    def _go_on_with(self, role: Follower, rev: int, key: ShardKey, snapshot: Snapshot) -> None:
        role.suspicion = ("promoted", self._outside.now_ms())
        start = Start(old_active=key.active, fresh=True, snapshot=snapshot, promoted=True)
        self._core._take(rev, key, start)


def _lacks_nothing(left: Left, key: ShardKey) -> bool:
    """Only then is its reader as good as a member of in_sync."""
    return left.flaw == "" and left.member in key.in_sync
