"""Recordings to disk, in a thread of their own: a slow disk must not delay a packet.

A recording is a valid WAV file about once a second, so that a killed server loses at most that.
"""

import queue
import re
import threading
from pathlib import Path

from media_servers.embedded.recording import HEADER_SIZE, Recorder, header
from media_servers.verbs import Refused

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,199}")

CHUNK = 32_000
"""Bytes of one second."""

MAX_WAITING = 1_000
"""Chunks that the disk has not taken; beyond, audio is dropped and counted, and calls go on."""


class Recordings:
    """Writes into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: queue.Queue[tuple[Path, bytes] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()
        self.dropped = 0
        """Chunks that were not written."""

    def open(self, name: str) -> Recorder:
        """A recorder that appends to `name`, which may have been begun earlier. Raises Refused."""
        stem = name.removesuffix(".wav")
        if not NAME.fullmatch(stem):
            raise Refused("no_file", "not a name for a recording")
        path = self._folder / f"{stem}.wav"
        held = bytearray()

        def write(data: bytes) -> None:
            nonlocal held
            held += data
            if len(held) >= CHUNK:
                self._put(path, bytes(held))
                held = bytearray()

        def close() -> None:
            nonlocal held
            self._put(path, bytes(held))
            held = bytearray()

        return Recorder(write, close)

    def close(self) -> None:
        """Write what is waiting, for two seconds at most."""
        try:
            self._queue.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _put(self, path: Path, data: bytes) -> None:
        try:
            self._queue.put_nowait((path, data))
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                _append(*item)
            except OSError:
                self.dropped += 1


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "w+b") as file:
        # Where the samples end is where the file ends: the header may be older than they are.
        size = max(HEADER_SIZE, file.seek(0, 2))
        whole = size - (size - HEADER_SIZE) % 4
        file.seek(whole)
        file.write(data)
        file.seek(0)
        file.write(header(whole + len(data) - HEADER_SIZE))
