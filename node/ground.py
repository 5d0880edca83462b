"""A cluster to try things on: `keepline up` in a folder, and what it says of itself.

What differs from what phones saw is a problem, kept in `problems`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.verdict import PhoneState, differing
from node.api import Refused, Unreachable
from node.ask import Cluster, cluster
from node.directory import Directory
from node.scene import Part, centre_yaml
from node.up import keepline, last_line

READY_MS = 30_000
AGREE_MS = 5_000
"""How long the cluster may take to have its agents in the state their phones are in."""
STOP_MS = 25_000
POLL_S = 0.25


class GroundFailed(Exception):
    """The cluster does not run; the text is the one line a person needs."""


class Ground:
    """One cluster. Use it as `async with standing(...)`."""

    def __init__(self, found: Cluster, data: Path, up: subprocess.Popen[bytes], log: Path) -> None:
        self.found = found
        self.data = data
        self.problems: list[str] = []
        """Findings beyond what phones say; none is good."""
        self._up = up
        self._log = log

    async def ready(self) -> dict[str, Any]:
        """The status once calls are taken and all copies are whole. Raises GroundFailed,
        NoCluster.
        """
        waiting = asyncio.create_task(self.found.ready(READY_MS))
        try:
            while not waiting.done():
                if self._up.poll() is not None:
                    why = last_line(self._log)
                    raise GroundFailed(f"the cluster did not start: {why}")
                await asyncio.wait([waiting], timeout=0.2)
            return await waiting
        finally:
            waiting.cancel()

    async def agents_agree(self, phones: Sequence[PhoneState], when: str) -> None:
        """Is every agent in the state his phone is in? What differs becomes a problem."""
        end = time.monotonic() + AGREE_MS / 1_000
        while True:
            listed: list[dict[str, Any]] = []
            with contextlib.suppress(Unreachable, Refused):
                listed = await self.found.rows("agents")
            wrong = differing(phones, listed)
            if not wrong:
                return
            if time.monotonic() > end:
                more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
                self.problems.append(f"{when}, agent {wrong[0]}{more}")
                return
            await asyncio.sleep(POLL_S)

    async def ledger_adds_up(self) -> None:
        """Every call must be in one class."""
        ledger = (await self.found.status())["ledger"]
        if ledger["unaccounted"]:
            self.problems.append(f"{ledger['unaccounted']} calls are in no class of the ledger")

    def processes(self) -> dict[int, str]:
        """The cluster's processes by their ids: "node n1", "media server", …"""
        return dict(Directory(self.data).holders())


@contextlib.asynccontextmanager
async def standing(
    folder: Path, parts: Sequence[Part], *, nodes: int, options: Sequence[str] = ()
) -> AsyncIterator[Ground]:
    """A cluster that has been told to start; `options`: more of them for `up`. Ends all of it."""
    data, log = folder / "data", folder / "up.log"
    centre = folder / "centre.yaml"
    centre.write_text(centre_yaml(parts))
    up = _start([f"--centre={centre}", f"--nodes={nodes}", f"--data={data}", *options], log)
    try:
        async with cluster(data, None) as found:
            yield Ground(found, data, up, log)
    finally:
        await _stop(up, data)


def _start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            keepline("up", *words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends whoever stands here, and he ends this
        )


async def _stop(up: subprocess.Popen[bytes], data: Path) -> None:
    """Stop everything, by force what does not end."""
    up.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(up.wait, STOP_MS / 1_000)
    if up.poll() is None:
        up.kill()
        up.wait()
    for pid, _ in Directory(data).holders():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
