"""A node of the sweep: the outside of its shard, and what `node.shard` wires in a real one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from calls import effects, inputs
from calls.machine import Calls
from cluster.journal import Left
from cluster.machine import Redrive, Step
from cluster.messages import CoreMessage
from cluster.roles import Found
from cluster.runtime import Shard
from cluster.snapshot import Snapshot
from cluster.store import Lost, Unknown, Won
from cluster.switch import Switch
from loadtest.sim.call_shard import CallShard
from sip.uri import Address
from tests.calls.people import SHARD

if TYPE_CHECKING:
    from tests.calls.sweep import Sweep

WALL_MS = 1_700_000_000_000


class Planted(ValueError):
    """A bug in a step, put there on purpose."""


class Watched(Calls):
    """The product's machine; the world is told of each step, and may have it raise."""

    world: "Sweep"

    def step(self, tx: Step, event: Any) -> None:
        world = self.world
        super().step(tx, event)
        world.stepped(self, tx, event)
        if isinstance(event, inputs.Requested | inputs.Responded) and event.message.get("x-poison"):
            raise Planted(event.message.method or str(event.message.status))

    def decode(self, key: str, data: bytes) -> Any:
        world = self.world
        node = world.node
        if (
            key.partition("/")[0] == world.plan.spoils
            and not world.spoilt
            and node is not None
            and not node.shard.serving
        ):
            world.is_disturbed = True
            world.spoilt.append(key)
            raise Planted(key)
        return super().decode(key, data)

    def redrive(self, tx: Step, key: str) -> None:
        super().redrive(tx, key)
        self.world.stepped(self, tx, Redrive(key))
        if self.world.plan.poisons_redrive == key.partition("/")[0]:
            raise Planted(key)


class Node:
    """One life of a node."""

    def __init__(self, world: "Sweep", number: int) -> None:
        self.world = world
        self.alive = True

        def machine() -> Watched:
            made = world.machine("main", SHARD, world.centre)
            made.world = world
            return made

        self.shard = Shard(
            name="main",
            node="n",
            incarnation=str(number),
            preferred=("n",),
            copies=1,
            machine=machine,
            outside=self,
            check=True,
        )
        self.side = Side(self, self.shard, SHARD, world.media, world.database)
        self.side.timeouts = world.timeouts

    @property
    def next_ms(self) -> int | None:
        layer = self.side.layer
        times = (self.shard.next_ms(), layer.next_ms if layer is not None else None)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now_ms: int) -> None:
        self.side.tick()
        self.shard.tick()

    # loadtest.sim.call_shard.Here

    def now_ms(self) -> int:
        return self.world.now_ms

    def at(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.world.at(delay_ms, lambda: call() if self.alive else None)

    def travel(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.world.at(delay_ms, call)

    def transmit(self, datagram: bytes, destination: Address) -> None:
        if self.alive:
            self.world.send(datagram, SHARD, destination)

    def refuses(self) -> str:
        return ""

    def failed(self, fault: Exception) -> None:
        self.world.faults.append(fault)

    # cluster.runtime.Outside

    def wall_ms(self) -> int:
        return WALL_MS + self.world.now_ms

    def random(self) -> bytes:
        return self.world.random.randbytes(32)

    def send(self, node: str, message: CoreMessage) -> None:
        raise AssertionError("this shard has one copy")

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self.at(delay_ms, call)

    def soon(self, call: Callable[[], None]) -> None:
        self.at(0, call)

    def gather(self, delay_ms: int) -> None:
        self.at(delay_ms, self.shard.flush)

    def read(self, done: Callable[[Found | None], None]) -> None:
        self.at(0, lambda: done(self.world.key))

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        assert self.world.key[0] == rev
        self.world.key = (rev + 1, value)
        self.at(0, lambda: done(Won(rev + 1)))

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        raise AssertionError("this shard has one copy")

    def is_linked(self, member: str) -> bool:
        return False

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        raise AssertionError("nothing is ever lost")

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        self.at(0, lambda: done(self.world.standby))

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        raise AssertionError("nobody stops it")

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        self.at(0, moved)

    def serving(self, *, lost: bool) -> None:
        self.side.serve()
        self.shard.handle(inputs.Configure(self.world.centre))

    def switched(self, switch: Switch) -> None:
        self.shard.handle(inputs.Switched(switch.document()))

    def deposed(self) -> None:
        raise AssertionError("nobody else leads")

    def recover(self, done: Callable[[Left | None], None]) -> None:
        self.at(0, lambda: done(None))

    def note(self, what: str, **fields: object) -> None:
        if what in ("step undone", "event dropped"):
            self.world.undone.append(f"{what}: {fields}")

    def broken(self, error: BaseException) -> None:
        raise error

    def perform(self, effect: Any) -> None:
        if self.alive and self.world.performs(effect):
            self.side.perform(effect)


class Side(CallShard):
    """The product's rules for SIP, media and database; the world hears of timeouts."""

    timeouts: list[str]

    def on_timeout(self, branch: str, method: str) -> None:
        self.timeouts.append(f"{method} at {self._here.now_ms()}")
        super().on_timeout(branch, method)


def describe_effect(effect: Any) -> str:
    """An effect in a word or two."""
    match effect:
        case effects.Respond(origin=origin, status=status):
            return f"Respond {status} {origin.method}"
        case effects.Request(method=method):
            return f"Request {method}"
        case _:
            return type(effect).__name__


def describe(event: Any) -> str:
    """An event in a word or two."""
    match event:
        case inputs.Requested(message=msg):
            return f"Requested {msg.method}"
        case inputs.Responded(message=msg):
            return f"Responded {msg.status} {msg.cseq_method}"
        case _:
            key = getattr(event, "key", "")
            return f"{type(event).__name__} {key.partition('/')[0]}".strip()
