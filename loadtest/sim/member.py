"""One shard on one life of a node: the outside of its `cluster.runtime.Shard` on virtual time.

What `cluster.io.shard` is to a real node.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.copy import Copy
from cluster.journal import Left
from cluster.journaling import Journal
from cluster.messages import CoreMessage, Prepare
from cluster.roles import Active, Found, Role
from cluster.runtime import Shard
from cluster.snapshot import Snapshot, decode_snapshot, encode_snapshot
from cluster.store import Lost, ShardKey, Unknown, Won, decode_key
from cluster.switch import Switch
from loadtest.sim.disk import DiskStorage

if TYPE_CHECKING:
    from loadtest.sim.process import Process

TURN_MS = 10
LEAVE_MS = 50
HAND_OVER_MS = 1_500
PREPARE_MS = 1_000
PART_MS = 200
FILE_MS = 10
RECOVER_MS = 4

BUGS = ("step undone", "event dropped", "effect failed", "record not read")
"""What a shard notes when a step raised: in a simulation nothing may."""


@dataclass(slots=True)
class Seen:
    """What the rules saw of a member when they looked at it last."""

    role: Active | None = None
    commit: int = 0
    end: int = 0
    serving: bool = False
    stamps: dict[int, int] = field(default_factory=dict)
    """Shard time at which the batches that end here were written."""
    written: int = 0
    """Number of the last batch that the rules have of it."""
    copy: Copy | None = None
    name: str = ""
    """Its copy, and what it was called."""


class Member:
    """`cluster.outside.Outside`."""

    def __init__(self, process: "Process", name: str) -> None:
        world = process.world
        self.world = world
        self.process = process
        self.name = name
        self.node = process.node
        self.has_left = False
        self.gave = 0
        """Epoch of the active that asked for the shard's address last, and was given it."""
        self.performed: list[Any] = []
        self.seen = Seen()
        self.left: Left | None = None
        """What it read of its node's journal last."""
        self.disk = world.disks[process.node, name]
        self.storage = DiskStorage(self.disk, process)
        self.shard = Shard(
            name=name,
            node=process.node,
            incarnation=process.incarnation,
            preferred=world.shards[name],
            copies=min(3, len(world.names)),
            machine=lambda: world.machine(self),
            outside=self,
            far=world.far,
            journal=None if world.journal == "off" else self._journal(),
            check=world.check,
        )

    def _journal(self) -> Journal:
        return Journal(
            shard=self.name,
            sync=self.world.journal == "sync",
            storage=self.storage,
            old=self.disk.journals(),
            note=self.note,
            now_ms=self.now_ms,
            wall_ms=self.wall_ms,
        )

    @property
    def is_active(self) -> bool:
        return isinstance(self.shard.core.role, Active)

    def post(self, event: Any) -> None:
        """The node hands an event to the shard, in a turn of its own."""
        self.process.at(0, lambda: (self.shard.handle(event), None)[1])

    # -- cluster.outside.Outside -------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.process.now_ms()

    def wall_ms(self) -> int:
        return self.process.wall_ms()

    def random(self) -> bytes:
        return self.world.draw.randbytes(32)

    def send(self, node: str, message: CoreMessage) -> None:
        self.world.network.send(self.process, node, self.name, message)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.process.at(delay_ms, call)

    def soon(self, call: Callable[[], None]) -> None:
        self.process.at(0, call)

    def gather(self, delay_ms: int) -> None:
        self.process.gather(delay_ms)

    def read(self, done: Callable[[Found | None], None]) -> None:
        self.world.store.read(self.process, self.name, done)

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        self.world.store.cas(self.process, self.name, rev, value, done)

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        is_refused = self.world.network.is_refused(self.node, node)
        self.process.at(1, lambda: done(is_refused))

    def is_linked(self, member: str) -> bool:
        return self.world.network.hears(self.node, member)

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        world = self.world
        are_gone = all(world.is_gone(member, self.name) for member in members)
        is_left = any(disk.left() is not None for disk in world.disks_of(self.name))
        self.process.at(3, lambda: done(are_gone and not is_left))

    def recover(self, done: Callable[[Left | None], None]) -> None:
        def read() -> None:
            self.left = None if self.world.journal == "off" else self.disk.left(self.note)
            done(self.left)

        self.process.at(RECOVER_MS, read)

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        data = self.world.files.get(name)
        self.process.at(FILE_MS, lambda: done(None if data is None else decode_snapshot(data)))

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        name = f"{snapshot.shard}-{snapshot.epoch}"
        data = encode_snapshot(snapshot)

        def write() -> None:
            self.world.files[name] = data
            saved(name)

        self.process.at(FILE_MS, write)

    def perform(self, effect: Any) -> None:
        self.performed.append(effect)
        self.world.perform(self, effect)

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        role = self.shard.core.role

        def is_here() -> None:
            if self.shard.core.role is role:
                moved()

        self.world.move_address(self, old_active, is_here)

    def serving(self, *, lost: bool) -> None:
        self.world.served(self, lost=lost)

    def switched(self, switch: Switch) -> None:
        self.world.switched(self, switch)

    def deposed(self) -> None:
        self.world.released(self)

    def note(self, what: str, **fields: object) -> None:
        self.world.tell(self.node, what, fields)
        if what in BUGS and not self.world.bugs_are_planted:
            self.world.rules.accuse(f"{what} on {self.node}: {fields}")

    def broken(self, error: BaseException) -> None:
        self.world.rules.accuse(f"{self.node} is broken: {error!r}")

    # -- stopping in order: as `cluster.io.host` does it -------------------------------------------

    def leave(self, *, gathered_ms: int) -> None:
        """Begin; `has_left` says when it is done."""
        self.shard.core.leave()
        self._go_on_leaving(gathered_ms)

    def _go_on_leaving(self, gathered_ms: int) -> None:
        shard = self.shard
        core = shard.core

        def again() -> None:
            self._go_on_leaving(gathered_ms)

        def parts() -> None:
            self._part(self.now_ms() + PART_MS, again)

        def stopped(won: bool) -> None:
            self.process.at(TURN_MS, again)

        def asked(found: Found | None) -> None:
            key: ShardKey | None = None if found is None else decode_key(found[1])
            self.has_left = found is not None and (key is None or core.member not in key.in_sync)
            if self.has_left:
                shard.retire()
            else:
                self.process.at(LEAVE_MS, again)

        match shard.state().role:
            case "active":
                successors = core.successors()
                if self.now_ms() < gathered_ms or not shard.serving:
                    self.process.at(TURN_MS, again)
                elif successors:
                    self.hand_over(successors[0], lambda went: parts() if went else again())
                elif shard.hold():
                    shard.stop(stopped)
                else:
                    self.process.at(TURN_MS, again)
            case "follower":
                core.leave()
                self.read(asked)
            case "stopped":
                shard.retire()
                self.has_left = True
            case _:
                self.process.at(TURN_MS, again)

    def _part(self, until_ms: int, done: Callable[[], None]) -> None:
        """The successor asks for the address: this process must still be there to give it."""
        if self.gave >= self.shard.core.epoch or self.now_ms() > until_ms:
            done()
        else:
            self.process.at(TURN_MS / 2, lambda: self._part(until_ms, done))

    # -- handing over: as `cluster.io.host` does it ------------------------------------------------

    def hand_over(self, node: str, done: Callable[[bool], None] = lambda went: None) -> None:
        """Let this in-sync node lead the shard; whether it does."""
        process = self.process
        role = self.shard.core.role

        def prepared() -> None:
            self._begin_hand_over(node, role, self.now_ms() + HAND_OVER_MS, done)

        is_up = self.world.network.is_up(self.node, node)
        if not is_up or node not in self.shard.core.successors():
            prepared()
            return
        request = process.ask(node, self.name, Prepare, prepared)
        process.at(PREPARE_MS, lambda: prepared() if process.forget(request) else None)

    def _begin_hand_over(
        self, node: str, role: Role, until_ms: int, done: Callable[[bool], None]
    ) -> None:
        shard = self.shard
        if shard.core.role is not role or self.now_ms() > until_ms:
            done(False)
            return
        if shard.serving and not shard.held_up and node in shard.core.successors():
            self.world.held(self, True)
            if shard.hand_over(node):
                self._see_over(role, done)
                return
            self.world.held(self, False)
        self.process.at(TURN_MS, lambda: self._begin_hand_over(node, role, until_ms, done))

    def _see_over(self, role: Role, done: Callable[[bool], None]) -> None:
        if self.shard.core.role is not role:
            done(True)
        elif not self.shard.held_up:  # called off
            self.world.held(self, False)
            done(False)
        else:
            self.process.at(TURN_MS / 2, lambda: self._see_over(role, done))
