"""Who leads a shard and what counts as committed: one member's part of the protocol.

At most one member leads a shard in an epoch, and what it acknowledged is in the log of every later
active. That never depends on a clock, a lease or a beat:

- a batch is committed when every in-sync member holds it under this epoch;
- only a member of in_sync may take the next epoch, and stops acknowledging the old one before it
  tries;
- in_sync and epoch are one key, so "shrink" (the old active) and "take over" (a candidate) are
  compare-and-sets of one revision: one of them fails.

Time and broken connections only decide when somebody tries.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from cluster import began, handing_over, membership, suspicion
from cluster.answers import Answers
from cluster.began import Began
from cluster.clock import ShardClock
from cluster.comeback import CREATE_MS, Comeback
from cluster.copy import Copy
from cluster.journaling import Keeper, NoJournal
from cluster.key_change import RETRY_MS, change_key
from cluster.log import Changes, Log, pack
from cluster.messages import (
    Ack,
    Append,
    Batch,
    CoreMessage,
    HandOver,
    Hello,
    Leaving,
    Position,
    Reject,
    Slice,
)
from cluster.replicas import SILENT_MS, Replicas, Standby
from cluster.roles import (
    Active,
    Candidate,
    Decided,
    Follower,
    Found,
    Outside,
    Owner,
    Role,
    Start,
    Stopped,
)
from cluster.store import ShardKey, decode_key, member_id, node_of
from cluster.suspicion import BEAT_TIMEOUT_MS

RANK_MS = 30
"""In-sync members try one after the other, this far apart."""
ORPHAN_MS = 500
"""A shard without an active for this long may be lost: ask whether its processes are gone."""
BEHIND_MS = 1_000
"""Between two tries of an active to change a key that is of an older epoch than its own."""
LEAVING_MS = 1_000
"""A member that was told to stop tries so long after all others: it would lead but a moment."""
WATCH_MS = 2_000
"""Who holds no copy that counts reads the key so often while a node that does is up."""
KEPT_MS = 60_000
"""And keeps the copy that it had for so long: it may be asked to hold one again."""
LATE_MS = 100
"""A node whose own loop was this late drains its links before it suspects anyone."""


class Core:
    """One member of one shard."""

    def __init__(
        self,
        *,
        shard: str,
        node: str,
        incarnation: str,
        preferred: Sequence[str],
        copies: int,
        outside: Outside,
        owner: Owner,
        far: Sequence[str] = (),
        journal: Keeper | None = None,
    ) -> None:
        """`far`: nodes that get every batch, are never waited for and never lead by themselves."""
        assert node in preferred
        self.shard = shard
        self.node = node
        self.preferred = tuple(preferred)
        self.peers = tuple(name for name in preferred if name != node)
        self.copies = copies
        self.far = tuple(far)
        self.wanted: tuple[str, ...] | None = None
        """Nodes that shall hold copies, this one too; None: as many as there are to be."""
        self.journal: Keeper = journal or NoJournal()
        self._outside = outside
        self._owner = owner
        self._incarnation = incarnation
        self._lives = 0
        now_ms = outside.now_ms()
        self.member = member_id(node, incarnation)
        self.epoch = 0
        """Nothing of an older epoch is acknowledged."""
        self.copy = Copy(self.member)
        self._answers = Answers()
        self.comeback = Comeback(self, outside)
        self.clock = ShardClock(now_ms)
        self._birth = 0
        """Of the log whose time `clock` follows; 0: of none in particular."""
        self.role: Role = Follower(now_ms, now_ms)
        self.key: ShardKey | None = None
        """The shard's key as this member last saw it."""
        self._has_looked = False
        self.version = 1
        """Of the configuration that has this shard, as this node knows; 0: the shard shall go."""
        self.leaving = False
        self.up: dict[str, None] = {}
        """Nodes whose link is up."""

    @property
    def log(self) -> Log:
        return self.copy.log

    @property
    def heard_ms(self) -> int:
        """When this follower last heard of an active, or read that there is none."""
        return self.role.heard_ms if isinstance(self.role, Follower) else 0

    @property
    def is_closed(self) -> bool:
        """Is the shard gone, or never came to be, and is in no later version's configuration?"""
        if self.key is None:
            return self._has_looked and not self.version
        return bool(self.key.closed) and self.key.closed >= self.version

    def know(self, nodes: Sequence[str]) -> None:
        """The nodes there are now, in the order in which they try to lead this shard."""
        assert self.node in nodes
        self.preferred = tuple(nodes)
        self.peers = tuple(name for name in nodes if name != self.node)
        if isinstance(self.role, Active):
            self.role.replicas.know(self.peers, self._outside.now_ms())

    # -- becoming active ---------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the key and begin."""
        if isinstance(self.role, Follower):
            self._campaign(self.role, "started")

    def _campaign(self, role: Follower, why: str) -> None:
        """Something calls for a new active, or none is known: read the key, then decide."""
        if role.suspicion is None:
            role.suspicion = (why, self._outside.now_ms())
        if role.reading:
            return
        role.reading = True
        role.campaign_at_ms = None
        heard = role.heard

        def got(found: Found | None) -> None:
            if self.role is not role:
                return
            role.reading = False
            if role.heard != heard:
                return  # an active has spoken meanwhile: nobody is called for
            now_ms = self._outside.now_ms()
            if found is None:
                role.campaign_at_ms = now_ms + RETRY_MS
                return
            role.heard_ms = now_ms
            rev, value = found
            self._decide(role, rev, decode_key(value), now_ms)

        self._outside.read(got)

    def _decide(self, role: Follower, rev: int, key: ShardKey | None, now_ms: int) -> None:
        self.key = key
        self._has_looked = True
        wait_ms = self._rank(self.node) * CREATE_MS
        is_free = not self.leaving and self.node not in self.far
        if _epoch(key) < self.epoch:
            # The store went back in time: nothing safe can be decided by what it holds now.
            if not role.told_behind:
                role.told_behind = True
                self._tell_behind(key)
        elif key is None:
            if is_free and self.version and self._has_turn(role, rev, wait_ms, now_ms):
                self.comeback.created(role, rev)
        elif key.closed:
            # Who is behind would bring back what others have closed.
            if is_free and not self.is_closed and self._has_turn(role, rev, wait_ms, now_ms):
                self._take(rev, key, Start(fresh=True))
        elif not key.active:
            if is_free and self._has_turn(role, rev, wait_ms, now_ms):
                self.comeback.stopped(role, rev, key)
        elif key.epoch > self.epoch and key.active != self.member:
            # Another one has won: wait for its hello.
            self._follow(role, key.epoch, node_of(key.active), now_ms)
        elif self._may_take(key):
            others = [name for name in key.in_sync if name != key.active or name == self.member]
            ranked = sorted(others, key=lambda name: (self._rank(node_of(name)), name))
            rank = ranked.index(self.member) if self.member in ranked else 0
            would_not = self.leaving or self.journal.failed
            wait_ms = rank * RANK_MS + (LEAVING_MS if would_not else 0)
            if self._has_turn(role, rev, wait_ms, now_ms):
                self._take(rev, key, Start(old_active=key.active))
        else:
            if role.outside_ms is None:
                role.outside_ms = now_ms
            if not self.leaving and now_ms - role.since_ms >= ORPHAN_MS:
                self.comeback.orphaned(role, rev, key)

    def _tell_behind(self, key: ShardKey | None) -> None:
        self._outside.note(
            "store is behind", shard=self.shard, epoch=self.epoch, epoch_in_store=_epoch(key)
        )

    def _may_take(self, key: ShardKey) -> bool:
        """Only a member of in_sync holds everything that was acknowledged."""
        return self.member in key.in_sync

    def _rank(self, node: str) -> int:
        return self.preferred.index(node) if node in self.preferred else len(self.preferred)

    def _has_turn(self, role: Follower, rev: int, wait_ms: int, now_ms: int) -> bool:
        if wait_ms == 0 or role.turn == rev:
            return True
        role.turn = rev
        role.campaign_at_ms = now_ms + wait_ms
        return False

    def _take(
        self, rev: int, key: ShardKey, start: Start, *, asked: HandOver | None = None
    ) -> None:
        """Ask the store for the epoch after the one that stands at `rev`.

        `asked`: by the old active, who is well and may follow with all that it has.
        """
        candidate = Candidate(key.epoch + 1, "" if asked else node_of(key.active))
        now_ms = self._outside.now_ms()
        before = self.role
        assert isinstance(before, Follower)
        start.suspicion, start.asked_ms = before.suspicion or ("", now_ms), now_ms
        start.handed = asked is not None
        if start.fresh and self.log.birth:
            # Its journal has what it held, not what it begins with, and must not come back as this.
            self._live_on()
        self.role = candidate
        self.epoch = candidate.epoch
        others = () if start.fresh else [m for m in key.in_sync if node_of(m) not in self.far]
        out = (self.member,) if asked and asked.stays else (self.member, key.active)
        in_sync = (self.member, *(m for m in others if m not in out))
        wanted = ShardKey(candidate.epoch, self.member, in_sync)

        def decided(won: bool, rev: int, key: ShardKey | None) -> None:
            self.key = key
            if self.role is not candidate:
                return
            if won:
                self._lead(rev, wanted, start)
                return
            self.epoch = max(candidate.epoch - 1, _epoch(key))
            now_ms = self._outside.now_ms()
            self.role = Follower(now_ms, now_ms, node_of(key.active) if key is not None else "")

        change_key(self._outside, rev, wanted, decided)

    def _lead(self, rev: int, key: ShardKey, start: Start) -> None:
        now_ms = self._outside.now_ms()
        snapshot = start.snapshot
        if start.fresh:
            records = {} if snapshot is None else snapshot.records
            if start.lost or start.promoted:
                wall_ms = 0 if snapshot is None else snapshot.wall_ms
                began.add(records, Began(self.epoch, start.lost, wall_ms))
            self.copy.log = Log.restored(self.epoch, records)
            away_ms = 0 if snapshot is None else self._outside.wall_ms() - snapshot.wall_ms
            stopped_ms = 0 if snapshot is None else snapshot.shard_ms
            self.clock.start_at(stopped_ms + max(0, away_ms), now_ms)
        else:
            self.clock.lead(now_ms)
        self.copy.follow()
        peers = {node: Standby(node, now_ms) for node in self.peers}
        replicas = Replicas(
            self.epoch, self.member, self.log, peers, self._outside.send, self.clock.now
        )
        self.key = key
        self.wanted = None  # what was wanted when this member led before may be long past
        role = self.role = Active(rev, key, replicas, inherited=self.log.end)
        for node in self.peers:
            replicas.hello(node, now_ms)
        for member in key.in_sync[1:]:
            suspicion.probe_standby(self, role, node_of(member))
        self._keep()
        self._owner.elected(start)

    def promote(self, done: Callable[[str], None]) -> None:
        """An operator: lead, with whatever is here. Why not, or ""."""
        role = self.role
        if not isinstance(role, Follower):
            done("it leads already, or is about to")
        elif not role.stuck:
            done("somebody may lead it yet; ask again in a moment")
        else:
            self.comeback.promote(role, done)

    # -- active ------------------------------------------------------------------------------------

    def append(self, changes: Changes) -> int:
        """Add a batch to the log; its number. It leaves with the next `flush`."""
        assert isinstance(self.role, Active)
        batch = Batch(self.epoch, self.log.end + 1, pack(changes) if changes else b"")
        self.log.append(batch, changes)
        return batch.seq

    def flush(self) -> None:
        """Send what was appended. A lone active commits here."""
        if isinstance(self.role, Active):
            self._keep()
            self.role.replicas.flush(self._outside.now_ms(), self._targets(self.role))
            self._advance(self.role)

    def _advance(self, role: Active) -> None:
        held = min(membership.acknowledged(role, self.log), self.journal.held)
        if held > self.log.commit:
            self.log.commit_to(held)
            self._owner.committed()
        handing_over.press(self, role)

    def _keep(self) -> None:
        """The journal has what the log has, or will have: before anything is said of it."""
        role, key = self.role, self.key
        if isinstance(role, Active):
            key = role.key
            self.clock.now(self._outside.now_ms())  # a journal's two times are of one moment
        in_sync = key.in_sync if key is not None and key.epoch == self.epoch else ()
        self.journal.keep(
            self.log, self.member, epoch=self.epoch, in_sync=in_sync, shard_ms=self.clock.last_ms
        )
        self.copy.held = self.journal.held

    def journaled(self) -> None:
        """The journal holds more than before."""
        role = self.role
        self.copy.held = self.journal.held
        if isinstance(role, Active):
            self._advance(role)
        elif isinstance(role, Follower) and role.leader:
            self._say(role.leader, self._answers.grown(self.journal.held))

    def _say(self, node: str, answer: Ack | Position | None) -> None:
        if answer is not None:
            self._outside.send(node, answer)

    def _check_members(self, role: Active, now_ms: int) -> None:
        """Remove who is silent or gone; take in who has caught up, in two steps."""
        if role.changing:
            return
        in_sync = role.key.in_sync
        stay = membership.staying(role, now_ms, self.wanted, self.far)
        if stay != in_sync:
            if membership.may_be_cut_off(role, now_ms):
                self._hear_store_first(role)
            else:
                self._remove(role, stay)
            return
        if role.handing is not None:
            return
        # Under steady load a standby one round trip behind never holds all that is acknowledged:
        # first acknowledgements wait for it, then it is taken in.
        copies = self.copies + (self.node in self.far)
        near = membership.joining(role, self.log, copies, now_ms, self.wanted, self.far)
        role.pending = tuple(near)
        # Before the barrier is committed our own commit index may be behind what was acknowledged.
        acknowledged = max(self.log.commit, role.inherited)
        ready = tuple(member for member, match in near.items() if match >= acknowledged)
        if ready:
            self._change_members(role, in_sync + ready, ready)

    def _hear_store_first(self, role: Active) -> None:
        """Nobody is heard: go on without them only if the store is.

        It may be we whom nothing reaches. A change that arrives and whose answer does not would
        leave the shard to a member that never knows of it, and the others could not take it over.
        """
        role.changing = True

        def got(found: Found | None) -> None:
            role.changing = False
            if self.role is not role or found is None:
                return
            key = decode_key(found[1])
            if key is not None and key.epoch > self.epoch:
                self.key = key
                self._depose(key.epoch, node_of(key.active))
                return
            stay = membership.staying(role, self._outside.now_ms(), self.wanted, self.far)
            if stay != role.key.in_sync:
                self._remove(role, stay)

        self._outside.read(got)

    def _remove(self, role: Active, stay: tuple[str, ...]) -> None:
        self._change_members(role, stay, ())
        if role.handing is not None and role.handing.member not in stay:
            handing_over.call_off(self, role)

    def _change_members(
        self, role: Active, in_sync: tuple[str, ...], pending: tuple[str, ...]
    ) -> None:
        role.changing = True
        role.pending = pending

        def may_change() -> None:
            role.changing = False

        def decided(won: bool, rev: int, key: ShardKey | None) -> None:
            if self.role is not role:
                return
            self.key = key
            if key is None or key.epoch < self.epoch:
                # Nobody can have taken over by that: it is as if the store were away.
                self._tell_behind(key)
                self._outside.later(BEHIND_MS, may_change)
                return
            may_change()
            if key.epoch != self.epoch or key.active != self.member:
                self._depose(key.epoch, node_of(key.active))
                return
            role.rev, role.key, role.pending = rev, key, ()
            self._keep()
            self._advance(role)

        change_key(self._outside, role.rev, ShardKey(self.epoch, self.member, in_sync), decided)

    def _depose(self, epoch: int, leader: str) -> None:
        """Another one leads: drop everything, come back as a new member.

        If it is the successor that this one named and holds all that this one has, nothing is to be
        dropped: this member follows as any standby does.
        """
        now_ms = self._outside.now_ms()
        shard_ms = self.clock.now(now_ms)
        self.epoch = max(self.epoch, epoch)
        self.clock = ShardClock(now_ms)
        if self._may_stay(leader):
            self.copy.lead_no_more()
            self.clock.heard(shard_ms, now_ms)
        else:
            self._drop_copy()
        self._answers.forget()
        self.role = Follower(now_ms, now_ms, leader)
        self._owner.deposed()

    def _drop_copy(self) -> None:
        """From here on it is a member that holds nothing: the old one must not be heard again."""
        self._live_on()
        self.copy = Copy(self.member)
        self._keep()

    def _may_stay(self, leader: str) -> bool:
        handing = self.role.handing if isinstance(self.role, Active) else None
        is_named = handing is not None and handing.stays and node_of(handing.member) == leader
        return is_named and self.log.commit == self.log.end

    def _verify(self, role: Active) -> None:
        """A peer speaks of a higher epoch: the store says who is right."""
        if role.verifying:
            return
        role.verifying = True

        def got(found: Found | None) -> None:
            role.verifying = False
            key = None if found is None else decode_key(found[1])
            if self.role is role and key is not None and key.epoch > self.epoch:
                self.key = key
                self._depose(key.epoch, node_of(key.active))

        self._outside.read(got)

    def _renew(self) -> None:
        """It may acknowledge again, and was put out of in_sync meanwhile: as another member."""
        role = self.role

        def found(stands: Found | None) -> None:
            if self.role is not role or not isinstance(role, Follower):
                return
            key = None if stands is None else decode_key(stands[1])
            if key is None or self.member in key.in_sync:
                self._outside.later(BEHIND_MS, self._renew)
                return
            self._live_on()
            role.synced = False

        self._outside.read(found)

    def _live_on(self) -> None:
        self._lives += 1
        self.member = self.copy.member = member_id(self.node, f"{self._incarnation}.{self._lives}")

    def release(self, epoch: int, leader: str) -> None:
        """The active of a later epoch asks for the shard's address: it leads, we do not."""
        role = self.role
        if isinstance(role, Active) and epoch > self.epoch:
            self._depose(epoch, leader)

    def far_behind(self) -> dict[str, int]:
        """By far node that follows this active: how many batches it has not acknowledged."""
        role = self.role
        if not isinstance(role, Active):
            return {}
        peers = [role.replicas.peers[node] for node in self.far if node in role.replicas.peers]
        return {peer.node: self.log.end - peer.match for peer in peers if peer.answered}

    def suspects(self) -> list[str]:
        """Nodes that should have been heard of and were not: a hint, never a proof."""
        return suspicion.suspects(self)

    # -- stopping on purpose -----------------------------------------------------------------------

    def successors(self) -> list[str]:
        """In-sync nodes that could take over at once, the preferred one first."""
        return handing_over.successors(self)

    def hand_over(self, node: str) -> bool:
        """Name the successor; the owner has stopped stepping. False: it cannot be that node."""
        return handing_over.begin(self, node)

    def stop(self, snapshot: str, stopped: Decided) -> None:
        """Leave the shard to a snapshot that holds everything: nobody leads it then."""
        role = self.role
        assert isinstance(role, Active)
        assert self.log.commit == self.log.end

        def decided(won: bool, rev: int, key: ShardKey | None) -> None:
            self.key = key
            if self.role is role:
                self.role = Stopped(key)
            stopped(won, rev, key)

        role.changing = True
        role.handing = None
        change_key(self._outside, role.rev, ShardKey(self.epoch, "", (), snapshot), decided)

    def close(self, version: int, closed: Callable[[bool], None]) -> None:
        """Nothing is left in the shard, and this version of the configuration has none such."""
        role = self.role
        assert isinstance(role, Active)
        assert self.log.commit == self.log.end

        def decided(won: bool, rev: int, key: ShardKey | None) -> None:
            self.key = key
            if self.role is role:
                if won:
                    self.role = Stopped(key)
                elif _epoch(key) > self.epoch:
                    assert key is not None
                    self._depose(key.epoch, node_of(key.active))
                else:
                    role.changing = False  # the store is behind
            closed(won)

        role.changing = True
        change_key(
            self._outside, role.rev, ShardKey(self.epoch, "", (), None, closed=version), decided
        )

    def forget(self) -> None:
        """This node has no part in the shard any more; what is under way comes to nothing."""
        self.role = Stopped(self.key)

    def leave(self) -> None:
        """This node stops: no longer try to lead, and ask to be out of in_sync."""
        self.leaving = True
        if isinstance(self.role, Follower):
            self._say_leaving(self.role)

    def _say_leaving(self, role: Follower) -> None:
        if role.leader:
            self._outside.send(role.leader, Leaving(self.epoch, self.member))

    # -- time and connections ----------------------------------------------------------------------

    def tick(self) -> None:
        """Call every 10 to 25 ms."""
        now_ms = self._outside.now_ms()
        role = self.role
        had_failed = self.journal.failed
        self.journal.tick(now_ms)
        if self.journal.is_idle:
            self._keep()
        match role:
            case Active():
                role.replicas.beat(now_ms, self._targets(role))
                self._check_members(role, now_ms)
                handing_over.go_on(self, role, now_ms)
            case Follower():
                self._drop_old_copy(role, now_ms)
                if had_failed and not self.journal.failed:
                    self._renew()
                due_ms = role.campaign_at_ms
                if due_ms is None:
                    due_ms = role.heard_ms + self._patience_ms(role)
                if now_ms >= due_ms:
                    silent_ms = now_ms - role.heard_ms
                    self._campaign(role, f"silent for {silent_ms} ms" if role.leader else "nobody")
            case Candidate() | Stopped():
                pass
            case _:
                assert_never(role)

    def _drop_old_copy(self, role: Follower, now_ms: int) -> None:
        outside_ms = role.outside_ms
        if not self.log.birth or outside_ms is None or now_ms - outside_ms <= KEPT_MS:
            return
        # While nobody who holds all of it is there, it may be the best there is.
        if self.key is not None and any(map(self._outside.is_linked, self.key.in_sync)):
            self._drop_copy()

    def _patience_ms(self, role: Follower) -> int:
        """How long without a word of the active before the key is read."""
        if role.outside_ms is None or self.key is None:
            return BEAT_TIMEOUT_MS
        is_held = any(node_of(member) in self.up for member in self.key.in_sync)
        return WATCH_MS if is_held else BEAT_TIMEOUT_MS

    def _targets(self, role: Active) -> Sequence[str]:
        """The nodes that hold copies, or shall."""
        copies = self.copies + (self.node in self.far)
        return membership.holding(role, self.peers, copies, self.up, self.wanted, self.far)

    def woke_late(self, late_ms: int) -> None:
        """Our own loop was late: what others sent meanwhile has not been read yet."""
        if late_ms <= LATE_MS:
            return
        now_ms = self._outside.now_ms()
        role = self.role
        if isinstance(role, Follower):
            role.heard_ms = max(role.heard_ms, now_ms - BEAT_TIMEOUT_MS + LATE_MS)
            if role.campaign_at_ms is not None:
                role.campaign_at_ms = max(role.campaign_at_ms, now_ms + LATE_MS)
        elif isinstance(role, Active):
            for peer in role.replicas.peers.values():
                peer.seen_ms = max(peer.seen_ms, now_ms - SILENT_MS + LATE_MS)

    def link_up(self, node: str) -> None:
        """A connection to this node stands."""
        self.up[node] = None
        role = self.role
        if isinstance(role, Active) and node in role.replicas.peers and node in self._targets(role):
            role.replicas.hello(node, self._outside.now_ms())

    def link_down(self, node: str) -> None:
        """The connection broke: ask the operating system whether the process is gone."""
        self.up.pop(node, None)
        role = self.role
        if isinstance(role, Active):
            suspicion.probe_standby(self, role, node)
        elif isinstance(role, Follower) and node == role.leader:
            suspicion.probe_leader(self, role, node)

    # -- messages ----------------------------------------------------------------------------------

    def on(self, node: str, message: CoreMessage) -> None:
        """A message from this peer node."""
        if isinstance(message, (Hello, Append, Slice, HandOver)):
            self._on_active(node, message)
            return
        role = self.role
        if not isinstance(role, Active):
            return
        if message.epoch != self.epoch:
            if message.epoch > self.epoch:
                self._verify(role)
            return
        if node not in role.replicas.peers:
            return
        if not isinstance(message, Leaving) and node not in self._targets(role):
            return  # it was greeted so that it knows who leads; it shall hold no copy
        now_ms = self._outside.now_ms()
        match message:
            case Ack():
                role.replicas.on_ack(node, message, now_ms)
                self._advance(role)
            case Position():
                counts = message.member in role.key.in_sync or message.member in role.pending
                role.replicas.on_position(node, message, now_ms, may_replace=not counts)
                self._advance(role)
            case Leaving():
                role.replicas.peers[node].leaving = message.member
                self._check_members(role, now_ms)
            case Reject():
                pass
            case _:
                assert_never(message)

    def _is_stale(self, epoch: int) -> bool:
        return epoch < self.epoch

    def _on_active(self, node: str, message: Hello | Append | Slice | HandOver) -> None:
        """The active of some epoch speaks to us."""
        epoch = message.epoch
        role = self.role
        if self._is_stale(epoch):
            self._outside.send(node, Reject(self.epoch))
            return
        if isinstance(role, Stopped):
            return
        now_ms = self._outside.now_ms()
        if isinstance(role, Active):
            if epoch == self.epoch:
                return  # an echo of a life before: only one member leads an epoch
            self._depose(epoch, node)
        elif isinstance(role, Candidate):
            self.role = Follower(now_ms, now_ms)
        role = self.role
        assert isinstance(role, Follower)
        if epoch != self.epoch or role.leader != node:
            self._follow(role, epoch, node, now_ms)
        role.heard_ms = now_ms
        role.heard += 1
        role.campaign_at_ms = role.suspicion = None
        if not isinstance(message, Hello):
            role.outside_ms = None
        role.turn = -1
        if self.journal.failed:  # the shard must go on without us
            self._say_leaving(role)
            return
        match message:
            case Hello():
                role.synced = True
                self._keep()
                self._say(node, self.copy.position(epoch))
                if self.leaving:
                    self._say_leaving(role)
            case Append():
                self.clock.heard(message.stamp_ms, now_ms)
                if not role.synced:
                    role.synced = True
                    self._say(node, self.copy.position(epoch))
                    return
                self._answer(node, self.copy.on_append(message))
                if self.leaving and not message.batches:
                    self._say_leaving(role)
            case Slice():
                if message.member == self.member and role.synced:
                    if message.birth != self._birth:  # it began anew, and so did its time
                        self._birth = message.birth
                        self.clock = ShardClock(now_ms)
                    if message.stamp_ms:  # records without their time may be all that is left
                        self.clock.heard(message.stamp_ms, now_ms)
                    self._answer(node, self.copy.on_slice(message))
            case HandOver():
                handing_over.take_over(self, role, message)
            case _:
                assert_never(message)

    def _answer(self, node: str, answer: Ack | Position | None) -> None:
        """The copy took something in: in the journal first, then acknowledged."""
        self._keep()
        if answer is not None:
            is_whole = self.copy.receiving is None
            self._say(node, self._answers.say(answer, self.journal.held, is_whole=is_whole))

    def _follow(self, role: Follower, epoch: int, leader: str, now_ms: int) -> None:
        self.epoch = max(self.epoch, epoch)
        self.copy.follow()
        self._answers.forget()
        role.stuck = False
        role.leader = leader
        role.synced = False
        role.heard_ms = role.since_ms = now_ms
        role.campaign_at_ms = role.suspicion = None


def _epoch(key: ShardKey | None) -> int:
    return 0 if key is None else key.epoch
