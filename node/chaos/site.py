"""Where a fault is done: a cluster of real processes, its people, its store, its links."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadtest.scenario import Mix
from node.chaos.faults import CLOCK_JUMP_MS, Fault, Node, Stage
from node.chaos.links import Links
from node.chaos.stores import STORES, StoreHere
from node.drill import Drill
from node.ground import Ground, standing
from node.scene import SHARDS, Part, free_network, parts

STEADY = "24h"
"""No shard moves by itself meanwhile: what moves, the fault has moved."""
STORE_HOST = 3
"""The store's servers listen there in the network of the shards."""
VOICES = 1_500
"""Kept for the callers of each shard."""


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    faults: tuple[Fault, ...]
    runs: int = 5
    store: str = "sqlite"
    nodes: int = 3
    calls: int = 60
    seed: int = 1


@dataclass
class Site:
    """A cluster that runs, and what stands around it."""

    folder: Path
    parts: list[Part]
    ground: Ground
    store: StoreHere
    links: Links | None

    async def status(self) -> dict[str, Any]:
        return await self.ground.found.status()

    async def stage(self, turn: int) -> tuple[Stage, dict[str, str]]:
        """What a fault acts on now, and the active of each shard."""
        status = await self.status()
        pids = {node["name"]: node["pid"] for node in status["nodes"]}
        actives = {shard["name"]: shard["active"] for shard in status["shards"]}
        idle = [name for name in pids if name not in actives.values()]
        names = list(pids)
        chosen = (actives[SHARDS[0]], idle[0] if idle else names[-1], names[turn % len(names)])
        active, standby, in_turn = (Node(name, pids[name]) for name in chosen)
        holders = self.ground.processes().items()
        media_pid = next(pid for pid, what in holders if what == "media server")
        return Stage(active, standby, in_turn, media_pid, self.store, self.links), actives


@contextlib.asynccontextmanager
async def site(folder: Path, options: Options, fault: Fault) -> AsyncIterator[Site]:
    """A cluster for a fault, whole. Ends all of it."""
    await asyncio.to_thread(folder.mkdir)
    names = [f"n{number + 1}" for number in range(options.nodes)]
    network = free_network(options.seed)
    people = parts(mixes(options.calls), network, nodes=options.nodes, voices=VOICES)
    async with AsyncExitStack() as stack:
        store = STORES[options.store](folder, f"{network}.{STORE_HOST}")
        stack.push_async_callback(store.close)
        await store.start()
        links = None
        drill = Drill()
        if fault.on_links:
            links = Links(folder, names)
            stack.push_async_callback(links.close)
            await links.start()
            drill = links.drill
        if fault.on_clock:
            drill.clock_jump_ms = CLOCK_JUMP_MS
        file = folder / "drill.json"
        file.write_bytes(msgspec.json.encode(drill))
        words = [*store.words, f"--drill={file}", f"--steady={STEADY}"]
        ground = await stack.enter_async_context(
            standing(folder, people, nodes=options.nodes, options=words)
        )
        await ground.ready()
        yield Site(folder, people, ground, store, links)


def mixes(calls: int) -> list[Mix]:
    """The people of the two shards: somebody in every state, and enough who wait for those to come
    free.
    """
    made = []
    for place in range(len(SHARDS)):
        share = (calls + 1 - place) // 2
        talking, ringing, held = share // 3, share // 6, share // 10
        made.append(Mix(share - talking - ringing - held, talking, ringing, held))
    return made
