"""One life of one node in a simulated cluster: its clocks, its turns, and its share of the shards.

What `cluster.io.host` is to a real node.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.messages import Message, Prepare, Prepared, Release, Released
from loadtest.sim.member import Member

if TYPE_CHECKING:
    from loadtest.sim.world import World

TICK_MS = 20
"""Between two turns; a busy loop makes up to TICK_LATE_MS more of it."""
TICK_LATE_MS = 5
OFFSET_MS = 1_000_000
"""Monotonic clocks of two processes differ by up to this."""
STOP_MS = 3_000
GATHER_LEAVERS_MS = 150
LOOK_MS = 30
"""As `cluster.io.host`: so long may a clean stop take, so long does an active wait for others that
stop too; and so often is it looked at how far it has come."""


class Process:
    """Invariant: nothing of it happens once `is_alive` is false."""

    def __init__(self, world: "World", node: str, incarnation: str) -> None:
        draw = world.draw
        self.world = world
        self.node = node
        self.incarnation = incarnation
        self.is_alive = True
        self.is_leaving = False
        self.load_ms = world.load_ms
        self._offset_ms = draw.randrange(OFFSET_MS)
        self._rate, self._wall_ms = world.clocks[node]
        self._ticked_ms = self.now_ms()
        self._due_ms = self._ticked_ms
        self._flush_ms: int | None = None
        self._flush_n = 0
        self._asked: dict[int, Callable[[], None]] = {}
        self._requests = 0
        self.members = {name: Member(self, name) for name in world.shards}

    # -- time --------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Monotonic, by this process's own clock."""
        return self._offset_ms + int(self.world.exact_ms * self._rate)

    def wall_ms(self) -> int:
        """Unix time, by this node's own clock."""
        return self._wall_ms + self.world.now_ms

    def at(self, delay_ms: float, call: Callable[[], None]) -> None:
        """In so much time by this process's clock, unless it dies before."""
        self.world.at(delay_ms / self._rate, call, self)

    def start(self) -> None:
        """Begin with everything."""
        for member in self.members.values():
            member.shard.start()
        self.at(5, self._tick)

    def ended(self) -> None:
        """It is gone."""
        self.is_alive = False
        for member in self.members.values():
            member.storage.died()
            self.world.let_go(member, "")

    def _tick(self) -> None:
        now_ms = self.now_ms()
        late_ms = now_ms - self._due_ms
        for member in self.members.values():
            if late_ms > TICK_MS:
                member.shard.woke_late(late_ms)
            member.shard.tick()
            self.world.turn(member)
        due_ms = now_ms + TICK_MS + self.world.draw.randrange(TICK_LATE_MS)
        for member in self.members.values():
            next_ms = member.shard.next_ms()
            if next_ms is not None and next_ms < due_ms:
                due_ms = max(next_ms, now_ms + 1)
        self._due_ms = due_ms
        self.at(due_ms - now_ms, self._tick)

    def gather(self, delay_ms: int) -> None:
        """All shards' batches leave so much later, or sooner if another one asked for that."""
        due_ms = self.now_ms() + max(delay_ms, self.load_ms)
        if self._flush_ms is not None and self._flush_ms <= due_ms:
            return
        self._flush_ms = due_ms
        self._flush_n += 1
        n = self._flush_n
        self.at(max(delay_ms, self.load_ms), lambda: self._flush(n))

    def _flush(self, n: int) -> None:
        if n != self._flush_n:
            return
        self._flush_ms = None
        for member in self.members.values():
            member.shard.flush()

    # -- links -------------------------------------------------------------------------------------

    def received(self, node: str, shard: str, message: Message) -> None:
        """A message from this peer."""
        member = self.members[shard]
        match message:
            case Release():
                core = member.shard.core
                if message.epoch > core.epoch or not member.is_active:
                    core.release(message.epoch, node)
                    self.world.let_go(member, node if message.epoch >= core.epoch else "")
                    member.gave = message.epoch
                    answer = Released(message.epoch, message.request)
                    self.world.network.send(self, node, shard, answer)
            case Prepare():
                done = Prepared(message.epoch, message.request)
                member.shard.prepare(lambda: self.world.network.send(self, node, shard, done))
            case Released() | Prepared():
                answered = self._asked.pop(message.request, None)
                if answered is not None:
                    answered()
            case _:
                member.shard.on(node, message)

    def ask(
        self,
        node: str,
        shard: str,
        make: Callable[[int, int], Release | Prepare],
        answered: Callable[[], None],
    ) -> int:
        """Ask a peer; the number to `forget` the question by. `make` has epoch and number."""
        self._requests += 1
        request = self._requests
        self._asked[request] = answered
        epoch = self.members[shard].shard.core.epoch
        self.world.network.send(self, node, shard, make(epoch, request))
        return request

    def forget(self, request: int) -> bool:
        """Was the question still open? From now on its answer comes too late."""
        return self._asked.pop(request, None) is not None

    def link_up(self, node: str) -> None:
        for member in self.members.values():
            member.shard.core.link_up(node)

    def link_down(self, node: str) -> None:
        for member in self.members.values():
            member.shard.core.link_down(node)

    # -- stopping in order -------------------------------------------------------------------------

    def told_to_leave(self, back_ms: float) -> None:
        """SIGTERM: it does once it runs, if it is stopped just now."""
        self.at(0, lambda: self.leave(back_ms))

    def leave(self, back_ms: float) -> None:
        """Hand over what others can take, leave a snapshot of the rest, and end."""
        if self.is_leaving:
            return
        self.is_leaving = True
        self.world.tell(self.node, "leave", None)
        now_ms = self.now_ms()
        for member in self.members.values():
            member.leave(gathered_ms=now_ms + GATHER_LEAVERS_MS)
        self._look_for_the_end(now_ms + STOP_MS, back_ms)

    def _look_for_the_end(self, until_ms: int, back_ms: float) -> None:
        over = all(member.has_left for member in self.members.values())
        if over or self.now_ms() > until_ms:
            self.world.crash(self.node, back_ms)
        else:
            self.at(LOOK_MS, lambda: self._look_for_the_end(until_ms, back_ms))
