"""What goes wrong in a run, and when: drawn beforehand in number, by chance in kind.

Somebody takes over in every run: the first fault ends or stops the active of a shard, and if it may
not be ended yet, because it holds the only copy, it is as soon as it may.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from cluster.store import decode_key, node_of

if TYPE_CHECKING:
    from loadtest.sim.world import World

BACK_MS = (50, 300, 1_000)
"""A node that died is started again so much later."""
PAUSE_MS = (100, 300, 600, 2_500)
HEAL_MS = (200, 320, 500, 1_500)
"""Some are just over as somebody is suspected."""
INSIST_MS = 500
VAIN_MS = 1_200
"""A hand-over in vain lasts longer than it is waited for."""
BREAK_MS = (300, 1_000)
AT_ACTIVE = 0.6
"""Part of faults that hit an active rather than anybody."""
DEAF_TO_ALL = 0.5
"""Of the nodes that hear no other, the part that does not hear the store, either."""
ALL = 0.15
"""Of the rare faults that end the whole cluster, the part that happens."""

FIRST = ("crash", "silent crash", "pause")
KINDS = (
    "crash",
    "crash",
    "silent crash",
    "double",
    "hang and crash",
    "pause",
    "pause",
    "cut",
    "cut one way",
    "deaf",
    "store away",
    "store away for all",
    "store mute",
    "heal",
    "hand over",
    "hand over and crash",
    "hand over in vain",
    "hand over in vain",
    "leave",
    "all",
    "stop all",
)

JOURNALED = (
    "every process",
    "every process",
    "last copies",
    "reboot",
    "reboot all",
    "disk full",
    "slow disk",
)
"""With journals also these: they end more than one copy."""
SLOW_MS = (300, 3_000)
FULL = "no space left on device"


class Faults:
    """All that goes wrong in one world.

    `more` are faults that only this kind of world has, each as often as `weight` others.
    """

    def __init__(
        self, world: "World", more: Mapping[str, Callable[[], None]], *, weight: int = 1
    ) -> None:
        self._world = world
        self._more = dict(more)
        journaled = 2 * JOURNALED if world.journal != "off" else ()
        self._kinds = (*KINDS, *journaled, *(kind for kind in more for _ in range(weight)))
        self._is_calm = False
        self.happened: dict[str, int] = {}

    def plan(self, count: int, *, from_ms: int, to_ms: int) -> None:
        """So many faults between these moments."""
        draw = self._world.draw
        times = sorted(draw.randrange(to_ms - from_ms) + from_ms for _ in range(count))
        for at, ms in enumerate(times):
            kinds = FIRST if at == 0 else self._kinds
            self._world.at(ms, lambda kinds=kinds: self._happen(draw.choice(kinds)))  # type: ignore[misc]
        self._world.at(times[0] + INSIST_MS, self._insist)

    def _insist(self) -> None:
        """Until somebody has taken over, an active dies as soon as it may, even in a calm."""
        world = self._world
        if len(world.rules.leaders) <= len(world.shards):
            for member in [world.leader(shard) for shard in world.shards]:
                if member is not None:
                    self._crash(member.node, BACK_MS[0])
            world.at(INSIST_MS, self._insist)

    def _happen(self, kind: str) -> None:
        world = self._world
        draw = world.draw
        if self._is_calm:
            return
        node = draw.choice(world.names)
        actives = [
            member.node
            for process in world.alive.values()
            for member in process.members.values()
            if member.is_active
        ]
        is_first = not self.happened
        if actives and (is_first or draw.random() < AT_ACTIVE):
            node = draw.choice(actives)
        self.happened[kind] = self.happened.get(kind, 0) + 1
        world.tell(node, f"fault: {kind}", None)
        back_ms = draw.choice(BACK_MS)
        others = [name for name in world.names if name != node]
        match kind:
            case "crash" | "silent crash":
                went = self._crash(node, back_ms, silently=kind == "silent crash")
                if is_first and not went:
                    world.pause(node, PAUSE_MS[-1])
            case "double":  # a standby comes back empty, and the active goes just after
                self._crash(draw.choice(others), 10)
                world.at(30, lambda: self._crash(node, back_ms))
            case "hang and crash":  # a standby hangs, and the active comes back at once
                world.pause(draw.choice(others), draw.choice(PAUSE_MS))
                world.at(draw.randrange(60), lambda: self._crash(node, 20))
            case "pause":
                world.pause(node, draw.choice(PAUSE_MS[1:] if is_first else PAUSE_MS))
            case "cut":
                breaks_ms = draw.choice(BREAK_MS)
                for other in others:
                    world.network.cut(node, other, breaks_ms)
                    world.network.cut(other, node, breaks_ms)
            case "cut one way":
                world.network.cut(node, draw.choice(others), draw.choice((None, *BREAK_MS)))
            case "deaf":  # others hear it, and it hears nobody
                for other in others:
                    world.network.cut(other, node)
                if draw.random() < DEAF_TO_ALL:
                    world.store.mute[node] = None
            case "store away":
                world.store.away[node] = None
            case "store away for all":
                world.store.away |= dict.fromkeys(world.names)
            case "store mute":  # it does what it is asked for, and nobody hears of it
                world.store.mute[node] = None
            case "heal":
                self._heal()
            case "hand over":
                self._hand_over(node)
            case "hand over and crash":  # who took it goes just after
                for successor in self._hand_over(node):
                    world.at(draw.choice((40, 80)), partial(self._crash, successor, back_ms))
            case "hand over in vain":
                self._hand_over(node, in_vain=True)
            case "leave":
                if node in world.alive and len(world.alive) > 1:
                    world.alive[node].told_to_leave(back_ms)
            case "all":
                if draw.random() < ALL:
                    for name in world.names:
                        world.crash(name, back_ms)
            case "stop all":
                if draw.random() < ALL:
                    for process in list(world.alive.values()):
                        process.told_to_leave(back_ms + 3_000)
            case "every process":
                self._crash_all(back_ms)
            case "last copies":  # who is in sync, and nobody else
                for name in self._in_sync():
                    world.at(draw.randrange(40), lambda name=name: world.crash(name, back_ms))  # type: ignore[misc]
            case "reboot":
                world.crash(node, back_ms, reboot=True)
            case "reboot all":
                if draw.random() < ALL:
                    for name in world.names:
                        world.crash(name, back_ms, reboot=True)
            case "disk full":
                for disk in world.disks_on(node):
                    disk.error = FULL
                if draw.random() < 0.5:
                    world.at(draw.choice((300, 800)), lambda: self._crash_all(back_ms))
            case "slow disk":
                for disk in world.disks_on(node):
                    disk.slow_ms = draw.choice(SLOW_MS)
                world.pause(node, draw.choice((100, 600)))
                world.at(draw.choice((700, 1_000)), lambda: self._crash_all(back_ms))
            case _:
                self._more[kind]()
        world.at(VAIN_MS if kind == "hand over in vain" else draw.choice(HEAL_MS), self._heal)

    def _crash(self, node: str, back_ms: int, *, silently: bool = False) -> bool:
        """Without journals never a last in-sync copy: that is for "all" and for two in a row."""
        world = self._world
        if world.journal != "off":
            world.crash(node, back_ms, silently=silently)
            return True
        for shard, (_, value) in world.store.keys.items():
            key = decode_key(value)
            others = [name for name in key.in_sync if node_of(name) != node] if key else []
            if not any(world.member(name, shard) is not None for name in others):
                return False
        world.crash(node, back_ms, silently=silently)
        return True

    def _crash_all(self, back_ms: int) -> None:
        for name in self._world.names if not self._is_calm else ():
            self._world.crash(name, back_ms + self._world.draw.randrange(50))

    def _in_sync(self) -> list[str]:
        """The nodes of all members in sync."""
        keys = [decode_key(value) for _, value in self._world.store.keys.values()]
        members = [member for key in keys if key is not None for member in key.in_sync]
        return list(dict.fromkeys(map(node_of, members)))

    def _hand_over(self, node: str, *, in_vain: bool = False) -> list[str]:
        """To whom, as soon as it runs. `in_vain`: the successor cannot reach the store."""
        world = self._world
        process = world.alive.get(node)
        asked: dict[str, None] = {}
        for member in process.members.values() if process is not None else ():
            successors = member.shard.core.successors()
            if successors and member.shard.serving:
                give = partial(member.hand_over, successors[0])
                member.process.at(0, give)
                asked[successors[0]] = None
                if in_vain:
                    world.store.away[successors[0]] = None
        return list(asked)

    def _heal(self) -> None:
        self._world.network.heal()
        self._world.store.away.clear()
        self._world.store.mute.clear()
        for disk in self._world.disks.values():
            disk.error = ""
            disk.slow_ms = 0

    def end(self) -> None:
        """No more faults: from here on all must come right by itself."""
        world = self._world
        self._is_calm = True
        self._heal()
        world.network.is_lossy = world.network.doubles = False
        world.store.is_calm = True
        world.tell("", "faults are over", None)
