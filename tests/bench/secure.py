"""What certificates cost the links of a cluster: `python -m tests.bench.secure [RUNS]`, as JSON.

With and without them by turns, so that whatever else runs on the machine is in both.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.io import link
from cluster.io.security import Open, Security
from cluster.messages import Append, Batch
from tests.cluster.ends import are_up, ends
from tests.cluster.hosts import until
from tests.cluster.papers import Papers
from tests.cluster.processes import Processes

RUNS = 20
FRAMES = 3_000
RECORD_BYTES = 500
HANDSHAKES = 50


def figures(values: list[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 2), "max": round(max(values), 2)}


def takeover_ms(toys: Processes, run: int) -> float:
    """From kill -9 of the active to the first operation that its successor acknowledges."""
    name, _ = toys.in_sync("shard0", len(toys.names))
    toys.ask("shard0", f"before{run}")
    killed = toys.kill(name)
    toys.ask("shard0", f"after{run}")
    took = time.monotonic() * 1000 - killed
    toys.start(name)
    return took


def takeovers(runs: int) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {"plain": [], "tls": []}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        Processes(Path(one)) as plain,
        Processes(Path(other), papers=Papers(Path(other) / "certs")) as tls,
    ):
        for run in range(runs):
            for kind, toys in {"plain": plain, "tls": tls}.items():
                for both in (plain, tls):  # a node that starts would be in the way
                    both.in_sync("shard0", len(both.names))
                found[kind].append(takeover_ms(toys, run))
    return {kind: figures(values) for kind, values in found.items()}


async def connections(security: Callable[[str], Security]) -> list[float]:
    """ms until a fresh channel has its link."""
    found = []
    async with ends(a=security("a")) as (a,):
        for _ in range(HANDSHAKES):
            began = time.perf_counter()
            async with security("b").channel(a.peers["a"], link._CHANNEL, "a") as channel:
                await channel.channel_ready()
                found.append((time.perf_counter() - began) * 1000)
    return found


async def frame_us(security: Callable[[str], Security]) -> float:
    """CPU of both sides for a frame of one batch and its way through, in µs."""
    async with ends(a=security("a"), b=security("b")) as (a, b):
        await until(lambda: are_up(a, b))
        append = Append(1, 1, 1, 1, 1, [Batch(1, 2, bytes(RECORD_BYTES))])
        began = time.process_time()
        for n in range(FRAMES):
            a.links.send("b", "main", append)
            await until(lambda n=n: len(b.got) > n)  # type: ignore[misc]
        return (time.process_time() - began) / FRAMES * 1e6


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as folder:
        papers = Papers(Path(folder))
        made = {name: papers.secure(name) for name in "ab"}
        kinds: dict[str, Callable[[str], Security]] = {
            "plain": lambda name: Open(),
            "tls": lambda name: made[name],
        }
        document: dict[str, Any] = {"runs": runs, "takeover_ms": takeovers(runs)}
        document["connect_ms"] = {
            kind: figures(asyncio.run(connections(security))) for kind, security in kinds.items()
        }
        document["frame_us"] = {
            kind: round(asyncio.run(frame_us(security)), 1) for kind, security in kinds.items()
        }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
