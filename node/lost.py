"""What the database knows of a shard whose every copy died, asked without holding up the loop.

The shard serves meanwhile: facts of its new epoch are not counted among those of the lost ones.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import structlog

from calls.inputs import CloseLost
from node import events_db

TRIES = 60
"""A database that cannot be read for so long has its open calls closed by nobody."""
AGAIN_MS = 1_000

log = structlog.get_logger()


async def left_behind(
    path: Path, shard: str, epoch: int, *, is_ours: Callable[[], bool], again_ms: int = AGAIN_MS
) -> CloseLost | None:
    """Calls that epochs before `epoch` left open, and their facts by kind.

    None when the shard is not ours any more, or the database cannot be read for TRIES times.
    """
    for n in range(TRIES):
        try:
            known = await asyncio.to_thread(events_db.read_lost, path, shard, epoch)
        except sqlite3.Error as error:
            if n == 0:
                log.warning("lost calls not read", shard=shard, error=str(error))
        else:
            return known if is_ours() else None
        await asyncio.sleep(again_ms / 1_000)
        if not is_ours():
            return None
    log.error("lost calls stay open", shard=shard, epoch=epoch, tries=TRIES)
    return None
