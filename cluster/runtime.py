"""Runs a machine as one replicated shard.

No effect of a step is performed before all its records are committed; effects leave in step order.
A step that raises is undone. A takeover rebuilds the records out of the log, moves the address,
commits a barrier, serves, and re-drives what the records say is pending.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster import began
from cluster.ahead import Ahead
from cluster.began import Began
from cluster.core import LATE_MS, Core
from cluster.fault import kind, place
from cluster.journaling import Journal
from cluster.machine import Machine, Redrive, Step, Timer, UnknownRecord
from cluster.messages import CoreMessage
from cluster.outside import Outside, ShardState
from cluster.roles import Active, Candidate, Follower, Start, Stopped
from cluster.snapshot import Snapshot
from cluster.store import node_of
from cluster.switch import FIRST_EFFECT_MS, Switch
from cluster.timers import Timers

GATHER_LOAD_MS = 15
"""Batches are so far apart when a step comes in each ms: a message to another node costs as much as
fifteen steps. With half as many steps a quarter of it: what few want is answered at once."""
GATHER_MOST_MS = 20
"""But never further than this: so much later, at most, a busy shard answers."""
LOAD_MS = 50
"""How many steps there are is averaged over about so long."""
BATCH_BYTES = 256 << 10
"""A batch this large leaves at once."""
REDRIVE_MS = 5
REDRIVE_BATCH = 16
"""A new active re-drives at most so many records with something pending in REDRIVE_MS."""
REDRIVE_LOOK = 250
"""And looks at no more than so many."""
AHEAD_PAUSE_MS = 1
"""Between two slices of what is decoded ahead."""
AHEAD_KEPT_MS = 5_000
"""Without a hand-over it is dropped after so long."""
DECODE_SLICE = 500
"""Records decoded in one go at a takeover, so that beats are not late."""
TIMERS_PER_TICK = 200
"""More timers than that wait for the next turn of the loop."""


DONE = object()


class Unreported(AssertionError):
    """A step changed this record without `edit` or `put` (looked for in tests only)."""


@dataclass(slots=True)
class Opening:
    """An active that does not serve yet."""

    start: Start
    began: Began | None
    switch: Switch
    undecoded: list[tuple[str, bytes]]
    slices: Iterator[None]
    """Of the machine's way to open them."""
    ahead: Ahead | None = None
    unread: list[tuple[str, Exception]] = field(default_factory=list)
    """Records that cannot be read. One of them shall not stop node after node."""
    is_open: bool = False
    barrier: int | None = None


@dataclass(slots=True)
class Held:
    """Effects and callbacks that wait for a batch."""

    seq: int
    effects: list[Any] = field(default_factory=list)
    callbacks: list[Callable[[bool], None]] = field(default_factory=list)


class Shard:
    """One shard on one node: its core, its machine, and its records while it is active."""

    def __init__(
        self,
        *,
        name: str,
        node: str,
        incarnation: str,
        preferred: Sequence[str],
        copies: int,
        machine: Callable[[], Machine],
        outside: Outside,
        far: Sequence[str] = (),
        journal: Journal | None = None,
        check: bool = False,
        core: type[Core] = Core,
    ) -> None:
        self.name = name
        self._journal = journal
        self._outside = outside
        self._new_machine = machine
        self._check = check
        self.counters = dict.fromkeys(
            ("steps", "batches", "poisoned", "dropped", "not_serving", "timers", "redriven"), 0
        )
        self.core = core(
            shard=name,
            node=node,
            incarnation=incarnation,
            preferred=preferred,
            copies=copies,
            outside=outside,
            owner=self,
            far=far,
            journal=journal,
        )
        if journal is not None:
            journal.on_held = self.core.journaled
        self._forget()

    def _forget(self) -> None:
        self._ahead: Ahead | None = None
        self.machine = self._new_machine()
        self.records: dict[str, Any] = {}
        self._opening: Opening | None = None
        self._switch: Switch | None = None  # how it came to serve, until that has been told
        self.serving = False
        self.held_up = False
        """Stepping has stopped: handing over, or stopping."""
        self._n = 0
        self._open: dict[str, bytes | None] = {}  # the batch that is being gathered
        self._open_bytes = 0
        self._held: deque[Held] = deque()
        self._gathering = False
        self._gathered = 0  # steps in the open batch
        self._load = 0.0  # steps in a ms
        self._flushed_ms = -(1 << 60)
        self._timers = Timers()
        self._redrive: deque[str] = deque()
        self._redrive_at_ms = 0
        self._emitted = 0  # steps that emitted something
        self._effects_from = 0  # effects of earlier batches wait for this one
        self._appended_ms: deque[tuple[int, int]] = deque()
        self._busy = False
        self._releasing = False

    # -- driving -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.core.start()

    def on(self, node: str, message: CoreMessage) -> None:
        """A message from this peer node."""
        self.core.on(node, message)

    def tick(self) -> None:
        """Every 10 to 25 ms, and not later than `next_ms`."""
        self.core.tick()
        if self.serving and not self.held_up:
            self._fire()
            self._redrive_some()
            switch = self._switch
            if switch and self._outside.now_ms() - switch.serving_ms > FIRST_EFFECT_MS:
                self._tell(switch)

    def next_ms(self) -> int | None:
        """The node's monotonic time at which `tick` has something to do besides beats."""
        if not self.serving or self.held_up:
            return None
        due: int | None = None
        timer_ms = self._timers.next_ms()
        if timer_ms is not None:
            due = self.core.clock.local(timer_ms)
        if self._redrive and (due is None or self._redrive_at_ms < due):
            due = self._redrive_at_ms
        return due

    def woke_late(self, late_ms: int) -> None:
        """The loop stood still: was another one elected meanwhile? Ask before anything leaves.

        What was acknowledged before the pause may still lie in our sockets; a batch that is written
        now is acknowledged only by members that still follow us.
        """
        self.core.woke_late(late_ms)
        if late_ms > LATE_MS and isinstance(self.core.role, Active) and self.serving:
            self.flush()  # what waits for the open batch names the number that it gets next
            self._effects_from = self.core.append(())
            self._appended_ms.append((self._effects_from, self._outside.now_ms()))
            self.core.flush()

    def handle(self, event: Any) -> bool:
        """One event through the machine. False: this node does not serve the shard now."""
        if not self.serving or self.held_up:
            self.counters["not_serving"] += 1
            return False
        self._run(event)
        return True

    def when_committed(self, callback: Callable[[bool], None]) -> None:
        """Call once everything that stands in the records now is committed; False: it never is."""
        if not self.serving:
            callback(False)
        else:
            self._holder().callbacks.append(callback)
            self._release()

    def time_ms(self) -> int:
        """Shard time now."""
        return self.core.clock.now(self._outside.now_ms())

    def commit_age_ms(self) -> int:
        """For how long the oldest uncommitted batch has been waiting; 0: nothing waits."""
        if not self._appended_ms:
            return 0
        return self._outside.now_ms() - self._appended_ms[0][1]

    def flush(self) -> None:
        """The gathered batch leaves."""
        self._gathering = False
        if not isinstance(self.core.role, Active):
            return
        if self._open:
            now_ms = self._outside.now_ms()
            changes = list(self._open.items())
            self._open = {}
            self._open_bytes = 0
            seq = self.core.append(changes)
            since_ms = max(1, now_ms - self._flushed_ms)
            weight = min(1.0, since_ms / LOAD_MS)
            self._load += (self._gathered / since_ms - self._load) * weight
            self._gathered = 0
            self._flushed_ms = now_ms
            self._appended_ms.append((seq, now_ms))
            self.counters["batches"] += 1
        self.core.flush()

    # -- one step ----------------------------------------------------------------------------------

    def _step(self) -> Step:
        self._n += 1
        return Step(
            self.records,
            shard=self.name,
            epoch=self.core.epoch,
            n=self._n,
            now_ms=self.core.clock.now(self._outside.now_ms()),
            wall_ms=self._outside.wall_ms(),
            random=self._outside.random(),
        )

    def _run(self, event: Any) -> None:
        # A machine that posts from inside a step would see half-changed records.
        assert not self._busy, "an event inside a step"
        self._busy = True
        try:
            tx = self._step()
            try:
                self._decide(tx, event)
            except Unreported:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary: a bug ends one call
                self._undo(tx)
                self._poisoned(event, error)
        finally:
            self._busy = False
        self._release()

    def _decide(self, tx: Step, event: Any) -> None:
        self.counters["steps"] += 1
        if isinstance(event, Redrive):
            self.machine.redrive(tx, event.key)
        else:
            self.machine.step(tx, event)
        self._keep(tx)

    def _poisoned(self, event: Any, error: Exception) -> None:
        self.counters["poisoned"] += 1
        self._outside.note(
            "step undone",
            shard=self.name,
            step=type(event).__name__,
            error=kind(error),
            at=place(error),
        )
        tx = self._step()
        try:
            self.machine.poisoned(tx, event, error)
            self._keep(tx)
        except Exception as second:  # noqa: BLE001 - the boundary: a bug ends one call
            self._undo(tx)
            self.counters["dropped"] += 1
            self._outside.note(
                "event dropped",
                shard=self.name,
                step=type(event).__name__,
                error=kind(second),
                at=place(second),
            )

    def _keep(self, tx: Step) -> None:
        """The step stands: its records into the open batch, its effects behind them."""
        changed = tx._changed
        if changed:
            records = self.records
            machine = self.machine
            encoded: list[tuple[str, bytes | None, int | None]] = []
            for key in changed:  # all of it first: encoding may raise, and then nothing stands
                record = records.get(key)
                if record is None:
                    encoded.append((key, None, None))
                else:
                    data = machine.encode(key, record)
                    encoded.append((key, data, machine.deadline(key, record)))
            if self._check:
                self._find_unreported(tx)
            for key, value, deadline in encoded:
                self._open[key] = value
                self._open_bytes += 64 if value is None else 64 + len(value)
                self._timers.arm(key, deadline)
            self._gathered += 1
            self._gather()
        elif self._check:
            self._find_unreported(tx)
        if tx.effects:
            self._emitted += 1
            self._holder().effects.extend(tx.effects)

    def _holder(self) -> Held:
        """For what must wait until all that stands in the records now is committed."""
        seq = self.core.log.end + 1 if self._open else self.core.log.end
        if not self._held or self._held[-1].seq != seq:
            self._held.append(Held(seq))
        return self._held[-1]

    def _gather(self) -> None:
        if self._open_bytes > BATCH_BYTES:
            self._outside.gather(0)
        elif not self._gathering:
            self._gathering = True
            since_ms = self._outside.now_ms() - self._flushed_ms
            apart_ms = min(GATHER_MOST_MS, int(GATHER_LOAD_MS * self._load**2))
            self._outside.gather(max(0, apart_ms - since_ms))

    def _undo(self, tx: Step) -> None:
        """Every record the step had in hand is again what was last logged."""
        for key in tx._touched:
            data = self._open[key] if key in self._open else self.core.log.last_logged(key)
            if data is None:
                self.records.pop(key, None)
            else:
                self.records[key] = self.machine.decode(key, data)
        self.machine.open(self.records)

    def _find_unreported(self, tx: Step) -> None:
        for key in tx._touched:
            if key not in tx._changed:
                logged = self._open[key] if key in self._open else self.core.log.last_logged(key)
                if logged != self.machine.encode(key, self.records[key]):
                    raise Unreported(key)

    # -- commit ------------------------------------------------------------------------------------

    def committed(self) -> None:
        """The core: the commit index has grown."""
        opening = self._opening
        if opening is not None:
            self._try_serve(opening)
            return
        commit = self.core.log.commit
        while self._appended_ms and self._appended_ms[0][0] <= commit:
            self._appended_ms.popleft()
        self._release()

    def _release(self) -> None:
        """Perform what waited for batches that are committed now, in step order."""
        if self._releasing:
            return  # an effect brought an event: what that emits comes after what we have in hand
        self._releasing = True
        held = self._held
        try:
            while held and self._effects_from <= self.core.log.commit >= held[0].seq:
                ready = held.popleft()
                for effect in ready.effects:
                    self._outside.perform(effect)
                switch = self._switch
                if switch is not None and ready.effects:
                    switch.first_effect_ms = self._outside.now_ms()
                    self._tell(switch)
                for callback in ready.callbacks:
                    callback(True)
                if held is not self._held:
                    return  # an effect made this node lose the shard
        finally:
            self._releasing = False

    # -- timers ------------------------------------------------------------------------------------

    def _fire(self) -> None:
        now_ms = self.core.clock.now(self._outside.now_ms())
        for _ in range(TIMERS_PER_TICK):
            due = self._timers.take(now_ms)
            if due is None:
                break
            deadline_ms, key = due
            self.counters["timers"] += 1
            self._run(Timer(key, deadline_ms))
            self._timers.spent(key, deadline_ms)
        self._timers.sweep()

    @property
    def was_handed(self) -> bool:
        """Not served here yet, because the old active has just handed it over?"""
        return self._opening is not None and self._opening.start.handed

    # -- a hand-over is near -----------------------------------------------------------------------

    def prepare(self, ready: Callable[[], None]) -> None:
        """A hand-over to this node is near: decode what it holds while another one leads."""
        if not isinstance(self.core.role, Follower):
            ready()
            return
        ahead = self._ahead = Ahead(self.core.log.records)
        self._look_ahead(ahead, ready)

    def _look_ahead(self, ahead: Ahead, ready: Callable[[], None]) -> None:
        if self._ahead is not ahead:
            return
        if ahead.decode_some(self.machine.decode):
            self._outside.later(AHEAD_PAUSE_MS, lambda: self._look_ahead(ahead, ready))
            return
        ready()
        self._outside.later(AHEAD_KEPT_MS, lambda: self._look_no_more(ahead))

    def _look_no_more(self, ahead: Ahead) -> None:
        if self._ahead is ahead:
            self._ahead = None

    # -- takeover ----------------------------------------------------------------------------------

    def elected(self, start: Start) -> None:
        """The core: this member leads."""
        ahead = self._ahead
        self._forget()
        self.held_up = False
        log = self.core.log
        at_end = log.at_end()
        told = began.take(at_end)
        switch = Switch(
            self.core.epoch,
            node_of(start.old_active),
            *start.suspicion,
            asked_ms=start.asked_ms,
            won_ms=self._outside.now_ms(),
            records=len(at_end),
        )
        slices = self.machine.opening(self.records)
        opening = self._opening = Opening(start, told, switch, list(at_end.items()), slices, ahead)
        opening.undecoded.reverse()
        self._outside.note(
            "elected", shard=self.name, epoch=self.core.epoch, records=len(at_end), lost=start.lost
        )

        def moved() -> None:
            if self._opening is opening:
                switch.moved_ms = self._outside.now_ms()
                opening.barrier = self.core.append(())
                self.core.flush()
                self._try_serve(opening)

        self._outside.move_address(start.old_active, moved)
        self._outside.soon(lambda: self._decode(opening))

    def _decode(self, opening: Opening) -> None:
        if self._opening is not opening:
            return
        undecoded = opening.undecoded
        machine = self.machine
        records = self.records
        try:
            for _ in range(min(DECODE_SLICE, len(undecoded))):
                key, data = undecoded.pop()
                try:
                    record = opening.ahead.take(key, data) if opening.ahead else None
                    if record is None:
                        record = machine.decode(key, data)
                except UnknownRecord:
                    continue
                except Exception as error:  # noqa: BLE001 - the boundary: a bug ends one call
                    opening.unread.append((key, error))
                    continue
                records[key] = record
                deadline = machine.deadline(key, record)
                if deadline is not None:
                    self._timers.arm(key, deadline)
            if undecoded or next(opening.slices, DONE) is not DONE:
                self._outside.soon(lambda: self._decode(opening))
                return
        except Exception as error:  # noqa: BLE001 - the boundary: what was logged cannot be read
            self._outside.broken(error)
            return
        opening.is_open = True
        opening.switch.read_ms = self._outside.now_ms()
        self._try_serve(opening)

    def _try_serve(self, opening: Opening) -> None:
        commit = self.core.log.commit
        barrier = opening.barrier
        if self._opening is not opening or not opening.is_open:
            return
        if barrier is None or commit < barrier:
            return
        self._opening = None
        self.serving = True
        self._redrive = deque(self.records)
        self._redrive_at_ms = self._outside.now_ms()
        self._switch = opening.switch
        self._switch.serving_ms = self._outside.now_ms()
        self._outside.note("serving", shard=self.name, epoch=self.core.epoch)
        if opening.began is not None:
            self._open[began.KEY] = None
            self._gather()
            self._run(opening.began.event(self.name))
        for key, error in opening.unread:
            self._give_up(key, error)
        self._outside.serving(lost=opening.began is not None and opening.began.lost)
        if self.serving:
            self._redrive_some()

    def _tell(self, switch: Switch) -> None:
        self._switch = None
        self._outside.switched(switch)

    def _give_up(self, key: str, error: Exception) -> None:
        """A record that cannot be read is deleted, and the machine ends what it was part of."""
        self._outside.note("record not read", shard=self.name, key=key)
        self._open[key] = None
        self._gather()
        self._poisoned(Redrive(key), error)
        self._release()

    def _redrive_some(self) -> None:
        if not self._redrive:
            return
        now_ms = self._outside.now_ms()
        if now_ms < self._redrive_at_ms:
            return
        self._redrive_at_ms = now_ms + REDRIVE_MS
        driven = 0
        for _ in range(min(REDRIVE_LOOK, len(self._redrive))):
            key = self._redrive.popleft()
            if key not in self.records:
                continue
            emitted = self._emitted
            self._run(Redrive(key))
            if self._emitted != emitted:
                driven += 1
                if driven >= REDRIVE_BATCH:
                    break
        self.counters["redriven"] += driven

    def deposed(self) -> None:
        """The core: another one leads. Nothing that waited is performed."""
        held = self._held
        self._forget()
        for waiting in held:
            for callback in waiting.callbacks:
                callback(False)
        self._outside.note("deposed", shard=self.name, epoch=self.core.epoch)
        self._outside.deposed()

    # -- stopping on purpose -----------------------------------------------------------------------

    def hand_over(self, node: str) -> bool:
        """Stop stepping and let `node` take over. `deposed` follows, or `hand_over_failed`."""
        if not self.serving or self.held_up:
            return False
        self.held_up = True
        self.flush()
        if not self.core.hand_over(node):
            self.held_up = False
            return False
        return True

    def hand_over_failed(self) -> None:
        """The core: the successor did not come. This node goes on."""
        self.held_up = False
        self._outside.note("hand-over failed", shard=self.name, epoch=self.core.epoch)

    def hold(self) -> bool:
        """Stop stepping, for `stop`. True once all is committed."""
        role = self.core.role
        if not isinstance(role, Active) or self._opening is not None:
            return False
        self.held_up = True
        self.flush()
        return self.core.log.commit == self.core.log.end and not role.changing

    def stop(self, stopped: Callable[[bool], None]) -> None:
        """Leave a snapshot named in the key. Only when `hold` said True; if it failed, again so."""
        role = self.core.role
        log = self.core.log
        end = log.end
        snapshot = Snapshot(
            self.name,
            self.core.epoch,
            self.core.clock.now(self._outside.now_ms()),
            self._outside.wall_ms(),
            dict(log.records),
        )

        def saved(name: str | None) -> None:
            is_all = self.held_up and log.commit == log.end == end
            if name is None or self.core.role is not role or not is_all:
                stopped(False)  # it does not hold everything any more
                return
            # From here on nothing is written any more: the snapshot is what others go on from.
            self.serving = False
            self.core.stop(name, lambda won, rev, key: stopped(won))

        self._outside.save(snapshot, saved)

    def close(self, version: int, closed: Callable[[bool], None]) -> None:
        """Give the shard up for good: this version of the configuration has none such.

        Only when `hold` said True and nothing is left in the records.
        """

        def decided(won: bool) -> None:
            self.serving = self.serving and not won
            closed(won)

        self.core.close(version, decided)

    def go_on(self) -> None:
        """After a `hold`: step again."""
        self.held_up = False

    def retire(self) -> None:
        """This node stops, and no key counts on its copy any more."""
        if self._journal is not None:
            self._journal.retire()

    # -- reading -----------------------------------------------------------------------------------

    def state(self) -> ShardState:
        """As this member sees it; cheap."""
        core = self.core
        role = core.role
        key = role.key if isinstance(role, Active) else core.key
        match role:
            case Active():
                name = "active"
            case Candidate():
                name = "candidate"
            case Follower():
                name = "follower"
            case Stopped():
                name = "stopped"
        receiving = core.copy.receiving
        return ShardState(
            shard=self.name,
            member=core.member,
            role=name,
            epoch=core.epoch,
            active=key.active if key is not None else "",
            in_sync=key.in_sync if key is not None else (),
            serving=self.serving and not self.held_up,
            seq=core.log.end,
            commit=core.log.commit,
            records=len(self.records) if self.serving else len(core.log.records),
            stuck=core.comeback.here() if isinstance(role, Follower) and role.stuck else "",
            journal=self._journal.alarm if self._journal is not None else "",
            far=core.far_behind(),
            snapshot_progress=receiving.next_slice if receiving is not None else None,
            counters=self.counters,
        )
