"""Where a shard's SIP address is: it moves by the `bind` driver's own plan, or is routed.

On one host the old active is asked for its socket, and ended when it does not answer, as
`failover.io.bind` does it. Over several hosts whoever leads is routed to at once; an old active
that does not know it yet may still send.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cluster.messages import Release
from cluster.process import process_key
from cluster.roles import Found
from cluster.store import Process as Recorded
from cluster.store import decode_key, node_of, process_of
from failover import plan
from sip.uri import Address

if TYPE_CHECKING:
    from loadtest.sim.member import Member
    from loadtest.sim.world import World

MOVE_AGAIN_MS = 250
ROUTE_MS = 2
KEEP_ADDRESS_MS = 1_000
"""As `cluster.io.host`: a deposed active keeps the socket so long for whoever leads now."""
UNREAD_MAX = 10_000
"""Datagrams that a socket holds; more are lost."""
END_MS = 4
LOOK_MS = 1
BACK_MS = (50, 300, 1_000)
"""A process that was ended is started again so much later."""


@dataclass
class Socket:
    """A shard's bound socket. What is in it is read when its owner reads, and passed on with it."""

    owner: "Member"
    unread: deque[tuple[bytes, Address]] = field(default_factory=deque)


class Addresses:
    """Who has which shard's address. `read(member, datagram, source)` is what an owner does."""

    def __init__(
        self,
        world: "World",
        *,
        is_one_host: bool,
        is_reading: Callable[["Member"], bool],
        read: Callable[["Member", bytes, Address], None],
    ) -> None:
        self._world = world
        self.is_one_host = is_one_host
        self._is_reading = is_reading
        self._read = read
        self.sockets: dict[str, Socket] = {}

    # What comes.

    def arrives(self, shard: str, datagram: bytes, source: Address) -> None:
        """A datagram has come to the shard's address; without a socket there nobody hears of it."""
        socket = self.sockets.get(shard)
        if socket is not None and len(socket.unread) < UNREAD_MAX:
            socket.unread.append((datagram, source))
            self.look(socket.owner)

    def look(self, member: "Member") -> None:
        """The member reads on, if it does: one datagram in a turn."""
        member.process.at(0, lambda: self._turn(member))

    def _turn(self, member: "Member") -> None:
        socket = self.sockets.get(member.name)
        if socket is None or socket.owner is not member or not self._is_reading(member):
            return
        if socket.unread:
            self._read(member, *socket.unread.popleft())
        if socket.unread:
            self.look(member)

    # Where it is.

    def close(self, member: "Member") -> None:
        """The member's socket, if it has one, is closed with what is in it."""
        socket = self.sockets.get(member.name)
        if socket is not None and socket.owner is member:
            del self.sockets[member.name]

    def keep(self, member: "Member") -> None:
        """It leads no more: the socket waits, unread, to be asked for; or is closed."""
        socket = self.sockets.get(member.name)
        if socket is not None and socket.owner is member:
            member.process.at(KEEP_ADDRESS_MS, lambda: self._close_kept(member, socket))

    def _close_kept(self, member: "Member", socket: Socket) -> None:
        if self.sockets.get(member.name) is socket and not member.shard.serving:
            self.close(member)

    def pass_on(self, member: "Member", to: str) -> None:
        """The node `to` has asked for it: on one host it gets the very socket."""
        socket = self.sockets.get(member.name)
        if socket is None or socket.owner is not member:
            return
        there = self._world.alive.get(to)
        if self.is_one_host and there is not None:
            socket.owner = there.members[member.name]
        else:
            self.close(member)

    def move(self, member: "Member", old_active: str, moved: Callable[[], None]) -> None:
        """The address comes to `member`, unless it leads no more by then."""
        if not self.is_one_host:

            def routed() -> None:
                self.sockets[member.name] = Socket(member)
                moved()

            member.process.at(ROUTE_MS, routed)
            return
        old = recorded(node_of(old_active), process_of(old_active)) if old_active else None
        Move(self, member, old, moved).go()

    def holder(self, member: "Member") -> "Member | None":
        """Another living process that holds the address of this member's shard."""
        socket = self.sockets.get(member.name)
        return None if socket is None or socket.owner.process is member.process else socket.owner

    def bind(self, member: "Member") -> None:
        """Ours already, or bound now: nobody else holds it."""
        socket = self.sockets.get(member.name)
        if socket is None:
            self.sockets[member.name] = Socket(member)
        else:
            socket.owner = member


def recorded(node: str, incarnation: str) -> Recorded:
    """A process as it has written itself down."""
    return Recorded(node, incarnation, 1, 1, "host", process_key(node, incarnation))


class Move:
    """One address on its way."""

    def __init__(
        self,
        addresses: Addresses,
        member: "Member",
        old: Recorded | None,
        moved: Callable[[], None],
    ) -> None:
        self._addresses = addresses
        self._world = member.world
        self._member = member
        self._moved = moved
        self._old = old
        self._role = member.shard.core.role
        self._state = self._begin()

    def _begin(self) -> plan.State:
        return plan.begin(self._old, me=self._me, handed=self._member.shard.was_handed)

    @property
    def _me(self) -> Recorded:
        return recorded(self._member.node, self._member.process.incarnation)

    def go(self) -> None:
        """The next step of the plan."""
        member = self._member
        if member.shard.core.role is not self._role:
            return
        match self._state:
            case plan.Moved():
                self._moved()
            case plan.Failed():
                self._state = self._begin()
                member.process.at(MOVE_AGAIN_MS, self.go)
            case plan.Asking(process):
                self._ask(process)
            case plan.Ending(process):
                self._end(process)
            case plan.Binding(tries=tries) | plan.Waiting(tries=tries):
                member.process.at(plan.BIND_AGAIN_MS if tries else 0, self._bind)
            case plan.Searching():
                holder = self._addresses.holder(member)
                found = holder and recorded(holder.node, holder.process.incarnation)
                self._outcome(LOOK_MS, plan.Held(found) if found else plan.NotHeld())

    def _outcome(self, delay_ms: int, outcome: plan.Outcome) -> None:
        def happened() -> None:
            self._state = plan.step(self._state, outcome)
            self.go()

        self._member.process.at(delay_ms, happened)

    def _ask(self, process: Recorded) -> None:
        world, here = self._world, self._member.process
        if self._is_gone(process):
            self._outcome(LOOK_MS, plan.Gone())
        elif process.node == here.node:
            self._outcome(LOOK_MS, plan.Silent())
        elif process.node in world.paused:
            self._outcome(LOOK_MS, plan.Stopped())
        else:
            request = here.ask(
                process.node,
                self._member.name,
                Release,
                lambda: self._outcome(0, plan.Released()),
            )
            here.at(plan.RELEASE_MS, lambda: self._has_waited(process, request))

    def _has_waited(self, process: Recorded, request: int) -> None:
        if not self._member.process.forget(request):
            return  # it has answered
        if self._is_gone(process):
            self._outcome(0, plan.Gone())
        else:
            stopped = process.node in self._world.paused
            self._outcome(0, plan.Stopped() if stopped else plan.Alive())

    def _is_gone(self, process: Recorded) -> bool:
        living = self._world.alive.get(process.node)
        return living is None or living.incarnation != process.incarnation

    def _end(self, process: Recorded) -> None:
        """SIGKILL, if the store says that we lead."""
        member, world = self._member, self._world

        def asked(found: Found | None) -> None:
            key = None if found is None else decode_key(found[1])
            core = member.shard.core
            if key is None or (key.epoch, key.active) != (core.epoch, core.member):
                self._outcome(0, plan.NotEnded())
                return
            if not self._is_gone(process):
                world.tell(member.node, "ends a silent process", process.node)
                world.crash(process.node, world.draw.choice(BACK_MS))
            self._outcome(END_MS, plan.Gone())

        member.read(asked)

    def _bind(self) -> None:
        if self._addresses.holder(self._member) is None:
            self._addresses.bind(self._member)
            self._outcome(0, plan.Bound())
        else:
            self._outcome(0, plan.InUse())
