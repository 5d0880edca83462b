"""The coordination store of a simulated cluster: late, silent, or of unknown outcome.

What it does is always what a compare-and-set does; only what a node gets to hear of it varies.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.roles import Found
from cluster.store import Lost, Unknown, Won, decode_key

if TYPE_CHECKING:
    from loadtest.sim.process import Process
    from loadtest.sim.world import World

TRAVEL_MS = (1, 3, 50)
READ_MS = 2
READ_GIVEN_UP_MS = 200
CAS_GIVEN_UP_MS = 300
UNDER_WAY = 0.04
"""Part of changes still under way when their deadline passes: they may yet arrive..."""
LATE_MS = (60, 150, 600)
"""...so much later."""
UNANSWERED = 0.04
"""Part of changes that are made, with the answer lost."""


class SimulatedStore:
    """All shards' keys."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.keys: dict[str, Found] = dict.fromkeys(world.shards, (0, None))
        self.away: dict[str, None] = {}
        """Nodes that reach nothing of it, and get no answer."""
        self.mute: dict[str, None] = {}
        """Nodes that get no answer to what it does for them."""
        self.is_calm = False
        """Every question gets its answer."""

    def read(self, process: "Process", shard: str, done: Callable[[Found | None], None]) -> None:
        """What stands there; None when there is no answer."""

        def asked() -> None:
            if process.node in self.away or process.node in self.mute:
                process.at(READ_GIVEN_UP_MS, lambda: done(None))
            else:
                found = self.keys[shard]
                process.at(READ_MS, lambda: done(found))

        self._world.at(READ_MS, asked)

    def cas(
        self,
        process: "Process",
        shard: str,
        rev: int,
        value: bytes,
        done: Callable[[Won | Lost | Unknown], None],
    ) -> None:
        """Change the key if it stands at `rev`."""
        world = self._world
        draw = world.draw

        def asked() -> None:
            chance = 1.0 if self.is_calm else draw.random()
            if process.node in self.away:
                process.at(CAS_GIVEN_UP_MS, lambda: done(Unknown()))
            elif chance < UNDER_WAY:
                process.at(100, lambda: done(Unknown()))
                world.at(draw.choice(LATE_MS), lambda: self._arrives_late(shard, rev, value))
            else:
                answer: Won | Lost | Unknown = self._change(shard, rev, value)
                if process.node in self.mute or chance < UNDER_WAY + UNANSWERED:
                    answer = Unknown()
                process.at(draw.choice(TRAVEL_MS), lambda: done(answer))

        world.at(draw.choice(TRAVEL_MS), asked)

    def _arrives_late(self, shard: str, rev: int, value: bytes) -> None:
        self._change(shard, rev, value)

    def _change(self, shard: str, rev: int, value: bytes) -> Won | Lost:
        found = self.keys[shard]
        if found[0] != rev:
            return Lost(*found)
        self.put(shard, value)
        return Won(self.keys[shard][0])

    def put(self, shard: str, value: bytes | None) -> None:
        """The key holds this from now on."""
        rev, before = self.keys[shard]
        self._world.rules.key_changed(shard, decode_key(before), decode_key(value))
        self._world.remark("", f"{shard}: key", value)
        self.keys[shard] = (rev + 1, value)
