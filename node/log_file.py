"""The log of a process: one JSON object a line, bounded, and never a reason to stop.

When the file is full it becomes `NAME.1`, in place of the one before it, and a new one begins. A
line that cannot be written (disk full) is dropped; the next one that can be tells how many were.
"""

import contextlib
from io import FileIO
from pathlib import Path

import structlog

from node.directory import DirectoryError

FULL_BYTES = 32 << 20
"""A process's two files hold twice this at most."""


class LogFile:
    """What structlog writes to."""

    def __init__(self, path: Path, *, full_bytes: int = FULL_BYTES) -> None:
        """OSError if it cannot be opened."""
        self._path = path
        self._full_bytes = full_bytes
        # Unbuffered: what did not reach the disk must not come again, in pieces.
        self._file: FileIO = path.open("ab", buffering=0)
        self._bytes = path.stat().st_size
        self.dropped = 0

    def msg(self, line: str) -> None:
        """Append the line."""
        try:
            if self._bytes > self._full_bytes:
                self._turn_over()
            if self.dropped:
                line = f'{{"event": "log lines dropped", "lines": {self.dropped}}}\n{line}'
            self._bytes += self._file.write(f"{line}\n".encode(errors="replace"))
        except OSError:
            self.dropped += 1
        else:
            self.dropped = 0

    debug = info = warning = error = critical = exception = msg

    def _turn_over(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it
            self._path.replace(f"{self._path}.1")
        fresh = self._path.open("ab", buffering=0)
        self.close()
        self._file, self._bytes = fresh, 0

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def log_to(path: Path) -> None:
    """structlog into the file at `path`. Raises DirectoryError."""
    try:
        file = LogFile(path)
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written: {error.strerror}") from None
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: file,
        cache_logger_on_first_use=True,
    )
