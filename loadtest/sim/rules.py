"""What must be true of every shard whatever it is for, looked at after each event.

- One member leads a shard in an epoch; epochs do not go back; only an in-sync member takes over,
  or a shard begins anew (`loadtest.sim.anew`). A far node is never in sync, and leads only by an
  operator's word. A member that has dropped its copy goes on under another name.
- What is committed is held by every living in-sync member, is never committed again as something
  else, and is in the log of every later active.
- A new active serves once a batch of its own epoch is committed, with exactly the records that all
  committed batches make.
- Shard time neither goes back nor jumps.

The rules see all nodes at once, as no node can.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cluster.log import Log, unpack
from cluster.messages import Batch
from cluster.roles import Active
from cluster.store import ShardKey, decode_key, node_of
from loadtest.sim import anew

if TYPE_CHECKING:
    from loadtest.sim.member import Member
    from loadtest.sim.process import Process
    from loadtest.sim.world import World

LAG_MS = 250
"""A takeover may cost shard time the delay of the least delayed beat..."""
LEAP_MS = 50
"""...and may win it what two clocks drift apart while a mapping is remembered."""
DRIFT = 0.004
"""And shard time is as exact as the clocks."""


class Violation(Exception):
    """The product would have lost or doubled something, or stood still."""


class Uneventful(Exception):
    """Nothing happened in a run: the simulator is at fault, and has shown nothing."""


@dataclass
class History:
    """What one shard has committed since it began, or began anew."""

    birth: int = 0
    batches: list[Batch] = field(default_factory=list)
    records: dict[str, bytes] = field(default_factory=dict)
    began_ms: int = 0
    """Real time less shard time at its beginning."""
    since_ms: int = 0
    elections: int = 0
    stamp_ms: int = 0
    """Shard time of the last committed batch."""

    @property
    def end(self) -> int:
        return len(self.batches)


class Rules:
    """The rules over one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.broken: list[str] = []
        self.leaders: dict[tuple[str, int], str] = {}
        self.histories: dict[str, History] = {}
        self._stopped: dict[tuple[str, int], History] = {}
        """Histories that ended in a snapshot or a journal, by birth: one that slept may still
        commit what they hold."""
        self.lost: dict[tuple[str, int], None] = {}
        """Shards and births whose every in-sync copy died. One that slept may still commit what
        its members of then had, and nobody can tell him."""
        self.written = anew.Written()
        self._before: dict[tuple[str, int], ShardKey] = {}
        """What stood in the key before a shard's epoch that began anew."""

    def accuse(self, what: str) -> None:
        """A rule is broken; the run ends after this event."""
        self.broken.append(what)

    # -- the key -----------------------------------------------------------------------------------

    def key_changed(self, shard: str, before: ShardKey | None, after: ShardKey | None) -> None:
        """The store is about to hold this."""
        if after is None:
            return
        old = before or ShardKey(0, "", ())
        self._is_near(shard, after)
        if after.epoch < old.epoch:
            self.accuse(f"{shard}: the epoch goes back: {before} -> {after}")
        elif after.epoch > old.epoch:
            if after.active not in old.in_sync:
                self._before[shard, after.epoch] = old
        elif after.active and after.active != old.active:
            self.accuse(f"{shard}: epoch {after.epoch} has another active: {before} -> {after}")
        else:
            for name in after.in_sync:
                if name not in old.in_sync:
                    self._joins(shard, name)

    def _is_near(self, shard: str, key: ShardKey) -> None:
        far = [name for name in key.in_sync if node_of(name) in self._world.far]
        if any(name != key.active for name in far):
            self.accuse(f"{shard}: a far node is in sync: {key}")
        elif far and (shard, key.active) not in self._world.operator.promoted:
            self.accuse(f"{shard}: a far node leads: {key}")

    def _joins(self, shard: str, name: str) -> None:
        history = self.histories.get(shard)
        member = self._world.member(name, shard)
        if history is not None and member is not None and not self._holds(member, history):
            self.accuse(f"{shard}: {name} joins in_sync and lacks what is committed")

    # -- after each event --------------------------------------------------------------------------

    def look(self, process: "Process") -> None:
        """Has one of the process's members become active, committed, or begun to serve?"""
        for member in process.members.values():
            core = member.shard.core
            role = core.role
            seen = member.seen
            if seen.copy is not core.copy:
                if seen.name == core.member:
                    self.accuse(f"{member.name}: {seen.name} has dropped its copy and is called so")
                seen.copy, seen.name = core.copy, core.member
            if type(role) is not Active:
                if seen.role is not None:
                    seen.role = None
                    self._led(member)
                continue
            log = core.log
            if seen.role is not role:
                seen.role, seen.commit, seen.end, seen.serving = role, log.commit, log.end, False
                seen.stamps.clear()
                self._wrote(member, role.inherited)
                self._elected(member)
            if log.end != seen.end:
                self._wrote(member, seen.end)
                seen.end = log.end
                seen.stamps[log.end] = core.clock.last_ms
            if log.commit != seen.commit:
                self._committed(member, role, seen.commit)
                seen.commit = log.commit
            if member.shard.serving and not seen.serving:
                seen.serving = True
                self._serves(member)

    def _wrote(self, member: "Member", before: int) -> None:
        log = member.shard.core.log
        for batch in log.since(before) or ():
            self.written.add(member.name, log.birth, batch)

    def _elected(self, member: "Member") -> None:
        core = member.shard.core
        shard, epoch, log = member.name, core.epoch, core.log
        first = self.leaders.setdefault((shard, epoch), core.member)
        if first != core.member:
            self.accuse(f"{shard}: {first} and {core.member} lead epoch {epoch}")
        if log.birth == epoch:
            self._begins(member)
            return
        history = self.histories.get(shard)
        if history is None or not self._is_newest(member):
            return  # one that slept may believe in a past epoch for a moment
        history.elections += 1
        if not self._holds(member, history):
            self.accuse(f"{shard}: {core.member} leads epoch {epoch} and lacks what is committed")

    def _begins(self, member: "Member") -> None:
        """A shard begins: for the first time, or anew."""
        world = self._world
        core = member.shard.core
        shard = member.name
        old = self.histories.get(shard)
        fresh = History(core.epoch, records=dict(core.log.records), since_ms=world.now_ms)
        fresh.began_ms = world.now_ms - core.clock.now(member.now_ms())
        self.histories[shard] = fresh
        if old is None:
            return
        before = self._before.get((shard, core.epoch), ShardKey(0, "", ()))
        tail = anew.judge(world, member, old, before)
        if tail is None:
            self.lost[shard, old.birth] = None
        else:
            old.batches += tail
            self._stopped[shard, old.birth] = old
            fresh.stamp_ms = old.stamp_ms

    def _led(self, member: "Member") -> None:
        """It leads no more. Is it in sync by right?"""
        core, shard = member.shard.core, member.name
        key = decode_key(self._world.store.keys[shard][1])
        history = self.histories.get(shard)
        if key is None or history is None or core.member not in key.in_sync:
            return
        if not self._holds(member, history):
            self.accuse(f"{shard}: {core.member} led, is in sync and lacks what is committed")

    def _is_newest(self, member: "Member") -> bool:
        key = decode_key(self._world.store.keys[member.name][1])
        return key is not None and key.active == member.shard.core.member

    def _holds(self, member: "Member", history: History) -> bool:
        """Has this member's log all that is committed?"""
        log = member.shard.core.log
        if log.birth != history.birth or log.end < history.end:
            return False
        return all(
            log.epoch_at(seq) == history.batches[seq - 1].epoch
            for seq in range(max(log.commit, log.first - 1) + 1, history.end + 1)
        )

    def _committed(self, member: "Member", role: Active, before: int) -> None:
        core = member.shard.core
        shard, log = member.name, core.log
        if (shard, log.birth) in self.lost:
            return
        history = self.histories.get(shard)
        stopped = self._stopped.get((shard, log.birth))
        batches = log.since(before)
        if history is None or batches is None:
            self.accuse(f"{shard}: {core.member} commits to a log that nobody began")
            return
        for batch in batches[: log.commit - before]:
            if stopped is not None and batch.seq > stopped.end:
                self.accuse(f"{shard}: {core.member} commits to a log that was given up")
            self._add(shard, stopped or history, batch)
        stamps = member.seen.stamps
        for seq in [seq for seq in stamps if seq <= log.commit]:
            stamp_ms = stamps.pop(seq)
            if stopped is None:
                history.stamp_ms = max(history.stamp_ms, stamp_ms)
        for name in role.key.in_sync:
            other = self._world.member(name, shard)
            if other is not None and not self._has(other.shard.core.log, log):
                self.accuse(f"{shard}: {core.member} commits {log.commit}, {name} lacks it")
        key = decode_key(self._world.store.keys[shard][1])
        if key is not None and key.epoch > core.epoch:
            later = self._world.member(key.active, shard)
            if later is not None and later.is_active and not self._has(later.shard.core.log, log):
                self.accuse(
                    f"{shard}: {core.member} commits {log.commit} in epoch {core.epoch},"
                    f" {key.active} of epoch {key.epoch} lacks it"
                )

    def _has(self, other: Log, log: Log) -> bool:
        """Does the other log hold the last batch that is committed in this one?"""
        if other.birth != log.birth:
            return True  # it began anew out of a snapshot, which was compared
        if other.end < log.commit:
            return False
        epoch = other.epoch_at(log.commit)
        return epoch is None or epoch == log.epoch_at(log.commit)

    def _add(self, shard: str, history: History, batch: Batch) -> None:
        if batch.seq <= history.end:
            known = history.batches[batch.seq - 1]
            if known is not batch and (known.epoch, known.data) != (batch.epoch, batch.data):
                self.accuse(
                    f"{shard}: batch {batch.seq} is committed in epoch {known.epoch} and as"
                    f" something else in epoch {batch.epoch}"
                )
            return
        history.batches.append(batch)
        for key, value in unpack(batch.data):
            self._world.committed(shard, key, value)
            if value is None:
                history.records.pop(key, None)
            else:
                history.records[key] = value

    def _serves(self, member: "Member") -> None:
        core = member.shard.core
        shard, log = member.name, core.log
        if log.epoch_at(log.commit) != core.epoch:
            self.accuse(f"{shard}: {core.member} serves without a barrier in epoch {core.epoch}")
        history = self.histories.get(shard)
        if history is None or not self._is_newest(member):
            return
        if log.commit == history.end and log.records != history.records:
            self.accuse(f"{shard}: {core.member} serves other records than were committed")
        self._time_goes_on(member, history)

    def _time_goes_on(self, member: "Member", history: History) -> None:
        world = self._world
        shard_ms = member.shard.time_ms()
        if shard_ms < history.stamp_ms:
            self.accuse(f"{member.name}: shard time goes back: {history.stamp_ms} -> {shard_ms}")
        ahead_ms = shard_ms - (world.now_ms - history.began_ms)
        inexact_ms = DRIFT * (world.now_ms - history.since_ms)
        if not (
            -LAG_MS * history.elections - inexact_ms - 2
            <= ahead_ms
            <= LEAP_MS * history.elections + inexact_ms + 2
        ):
            self.accuse(f"{member.name}: shard time jumps by {ahead_ms} ms")

    # -- at the end --------------------------------------------------------------------------------

    def rest(self, shard: str) -> list[str]:
        """All faults are over for long: one active, all in sync, equal copies. What is not?"""
        world = self._world
        found: list[str] = []
        key = decode_key(world.store.keys[shard][1])
        leader = world.leader(shard)
        if leader is None or key is None:
            found.append(f"{shard}: nobody leads after all faults are over: {key}")
            return found
        actives = [member.node for member in world.members(shard) if member.is_active]
        if actives != [leader.node]:
            found.append(f"{shard}: {actives} are active after all faults are over")
        near = len(world.names) - len(world.far)
        if len(key.in_sync) != min(3, near) + (leader.node in world.far):
            found.append(f"{shard}: in_sync is {key.in_sync} with {len(world.alive)} nodes up")
        own = leader.shard.core.log
        for member in world.members(shard):
            if member.shard.core.member not in key.in_sync:
                continue
            log = member.shard.core.log
            if log.end == own.end and log.at_end() != own.at_end():
                found.append(f"{shard}: {member.node}'s copy differs")
        return found
