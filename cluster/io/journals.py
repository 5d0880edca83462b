"""The journals of all shards of one node."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from cluster.io.clock import now_ms, wall_ms
from cluster.io.journal import MODES, TAILS, FileStorage, Folder
from cluster.journal import Left
from cluster.journaling import Journal

CLOSE_S = 2.0
"""What was asked of the disk may take so long at the end."""

Note = Callable[..., None]


class Journals:
    """What one node keeps on its disk. `open` it before shards are made."""

    def __init__(self, path: Path, mode: str, note: Note, *, tails: Path = TAILS) -> None:
        """`mode`: one of MODES."""
        assert mode in MODES
        self.mode = mode
        self.folder = Folder(path, tails=tails)
        self._note = note
        self._storage: FileStorage | None = None
        self._journals: dict[str, Journal] = {}
        self._known: dict[tuple[Path, str], tuple[tuple[object, ...], bool]] = {}

    @property
    def path(self) -> str:
        """Where they are; "" if none are kept."""
        return "" if self.mode == "off" else str(self.folder.path)

    def open(self, call: Callable[[Callable[[], None]], None]) -> None:
        """`call`: run this on the node's loop, from any thread. JournalTaken, OSError."""
        if self.mode == "off":
            return
        self.folder.take()
        self.folder.sweep()
        self._storage = FileStorage(self.folder, call)

    async def close(self) -> None:
        """May be called again."""
        storage, self._storage = self._storage, None
        if storage is not None:
            await asyncio.to_thread(storage.close, CLOSE_S)
        self.folder.release()

    def journal(self, shard: str) -> Journal | None:
        """The shard's own; None: none is kept."""
        if self._storage is None:
            return None
        journal = self._journals[shard] = Journal(
            shard=shard,
            sync=self.mode == "sync",
            storage=self._storage,
            old=[(path.name, self.folder.begun(path)) for path in self.folder.files(shard)],
            note=self._note,
            now_ms=now_ms,
            wall_ms=wall_ms,
        )
        return journal

    def remove(self, shard: str) -> None:
        """The shard is gone for good."""
        journal = self._journals.pop(shard, None)
        if journal is not None:
            journal.remove()

    async def recover(self, shard: str) -> Left | None:
        """What an earlier life left of it."""
        if self.mode == "off":
            return None
        return await asyncio.to_thread(self.folder.newest, shard, self._note)

    async def is_left(self, shard: str, path: str) -> bool:
        """Does this folder of another node of this host bring anything of the shard?"""
        return await asyncio.to_thread(self._is_left, shard, Path(path))

    def _is_left(self, shard: str, path: Path) -> bool:
        folder = Folder(path, tails=self.folder.tails)
        try:
            state = tuple(
                (file, stat.st_size, stat.st_mtime_ns)
                for file in folder.files(shard)
                for stat in [file.stat()]
            )
        except OSError:
            return True  # it changes just now: there is somebody
        known = self._known.get((path, shard))
        if known is None or known[0] != state:
            left = folder.newest(shard, lambda what, **fields: None) is not None
            known = self._known[path, shard] = (state, left)
        return known[1]
