"""The links between nodes: a stream from each node to each other one, as in `cluster.io.link`.

In order while the stream lasts, lost with it. A cut loses or holds up what is sent, one way or
both, until it is healed; one that lasts breaks the stream, and both ends are told. A node that ends
is missed at once, but for one whose host died with it.
"""

from typing import TYPE_CHECKING

from cluster.messages import Message
from cluster.store import node_of, process_of

if TYPE_CHECKING:
    from loadtest.sim.process import Process
    from loadtest.sim.world import World

DIAL_MS = 3
REDIAL_MS = 30
LOSSY = 0.03
"""Part of messages that a lossy network drops out of a stream: as `cluster.io.link` does when too
many wait."""

Pair = tuple[str, str]


class Network:
    """All links of one world."""

    def __init__(self, world: "World") -> None:
        draw = world.draw
        self._world = world
        self.is_lossy = draw.random() < 0.4
        self.holds_up = draw.random() < 0.5
        """A cut delays what is sent, instead of losing it."""
        self.doubles = draw.random() < 0.3
        """A message may come twice in a row: no stream does that, the protocol bears it."""
        self._up: dict[Pair, int] = {}
        """Streams that stand, by number."""
        self._opened: dict[Pair, int] = {}
        """The newest stream of each pair: what is left in an older one is not read any more."""
        self._streams = 0
        self._cut: dict[Pair, int] = {}
        self._cuts = 0
        self._held: dict[Pair, list[tuple[int, Process, str, Message]]] = {}
        self._due: dict[Pair, float] = {}

    # -- messages ----------------------------------------------------------------------------------

    def send(self, sender: "Process", node: str, shard: str, message: Message) -> None:
        """On its way, if the sender's stream to that node stands."""
        world = self._world
        pair = (sender.node, node)
        receiver = world.alive.get(node)
        stream = self._up.get(pair)
        if stream is None or receiver is None:
            return
        if pair in self._cut:
            if self.holds_up:
                self._held.setdefault(pair, []).append((stream, receiver, shard, message))
            return
        draw = world.draw
        if self.is_lossy:
            if draw.random() < LOSSY:
                return
            delay_ms: float = draw.choice((1, 2, 10, 200))
        else:
            delay_ms = draw.expovariate(0.5)
        self._carry(pair, stream, receiver, shard, message, delay_ms)
        if self.doubles and draw.random() < LOSSY:
            self._carry(pair, stream, receiver, shard, message, delay_ms)

    def _carry(
        self,
        pair: Pair,
        stream: int,
        receiver: "Process",
        shard: str,
        message: Message,
        delay_ms: float,
    ) -> None:
        world = self._world
        due_ms = max(world.exact_ms + delay_ms, self._due.get(pair, 0))
        self._due[pair] = due_ms

        def deliver() -> None:
            if self._opened[pair] != stream:
                return
            if pair not in self._cut:
                world.remark(pair[1], f"{shard}: {pair[0]} says", message)
                receiver.received(pair[0], shard, message)
            elif self.holds_up:
                self._held.setdefault(pair, []).append((stream, receiver, shard, message))

        world.at(due_ms - world.exact_ms, deliver, receiver)

    def is_up(self, node: str, other: str) -> bool:
        """Can `node` send to `other`, as far as it knows?"""
        return (node, other) in self._up

    def hears(self, node: str, member: str) -> bool:
        """Does a stream from the very process of this member stand?"""
        other = self._world.alive.get(node_of(member))
        is_it = other is not None and other.incarnation == process_of(member)
        return is_it and self.is_up(node_of(member), node)

    def is_refused(self, node: str, other: str) -> bool:
        """Does the kernel of `other` tell `node` that nobody listens there?"""
        world = self._world
        return (
            other not in world.alive
            and other not in world.dead_hosts
            and (node, other) not in self._cut
            and (other, node) not in self._cut
        )

    # -- streams -----------------------------------------------------------------------------------

    def joined(self, node: str) -> None:
        """A node's process has begun: it dials the others, and they dial it."""
        for other in self._world.names:
            if other != node:
                self._dial((node, other), DIAL_MS)
                self._dial((other, node), DIAL_MS)

    def left(self, node: str, *, silently: bool) -> None:
        """A node's process has ended."""
        for other in self._world.names:
            for pair in ((node, other), (other, node)):
                was_up = self._up.pop(pair, None) is not None
                self._held.pop(pair, None)
                if was_up and pair[0] == other and not silently:
                    self._tell_down(other, node)

    def _dial(self, pair: Pair, delay_ms: float) -> None:
        world = self._world

        def answered() -> None:
            here, there = world.alive.get(pair[0]), world.alive.get(pair[1])
            if here is None or there is None or pair in self._up:
                return
            if self._is_cut(pair):
                world.at(REDIAL_MS, answered, here)
                return
            self._streams += 1
            self._up[pair] = self._opened[pair] = self._streams
            self._held.pop(pair, None)
            here.link_up(pair[1])

        caller = world.alive.get(pair[0])
        if caller is not None:
            world.at(delay_ms, answered, caller)

    def _is_cut(self, pair: Pair) -> bool:
        return pair in self._cut or pair[::-1] in self._cut

    def _tell_down(self, node: str, other: str) -> None:
        process = self._world.alive.get(node)
        if process is not None:
            self._world.at(1, lambda: process.link_down(other), process)

    # -- cuts --------------------------------------------------------------------------------------

    def cut(self, node: str, other: str, breaks_ms: int | None = None) -> None:
        """Nothing gets from `node` to `other`; the stream breaks so much later, if ever."""
        world = self._world
        self._cuts += 1
        n = self._cut[node, other] = self._cuts
        if breaks_ms is not None:
            world.at(breaks_ms, lambda: self._break((node, other), n))

    def _break(self, pair: Pair, n: int) -> None:
        if self._cut.get(pair) != n or self._up.pop(pair, None) is None:
            return
        node, other = pair
        self._world.tell(node, "link broke", other)
        self._held.pop(pair, None)
        self._tell_down(node, other)
        self._tell_down(other, node)
        self._dial(pair, REDIAL_MS)

    def heal(self) -> None:
        """All cuts are over; what was held up arrives, in order."""
        self._cut.clear()
        held, self._held = self._held, {}
        for pair, messages in held.items():
            for stream, receiver, shard, message in messages:
                self._carry(pair, stream, receiver, shard, message, 1)
