"""The control socket: who may connect, and what one connection may ask for at a time."""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from media_servers.embedded import wire
from media_servers.embedded.engine import Engine
from media_servers.verbs import Refused

MAX_CONNECTIONS = 64
MAX_BACKLOG = 4 * 1024 * 1024
"""Bytes that a node has not read; with more it is cut off, and reconnects."""

SLICE = 1_000
"""Session ids in one frame of a listing."""

_READ = 65_536


class AlreadyRunning(Exception):
    """Another process serves this socket."""


class Control:
    """The listening socket at `path`, for this user only. Raises AlreadyRunning, OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise AlreadyRunning(str(path)) from error
        # With the lock ours, a socket that is there is what a killed process left behind.
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self.socket.bind(str(path))
        finally:
            os.umask(before)
        self.socket.listen(MAX_CONNECTIONS)
        self.socket.setblocking(False)

    def accept(self) -> socket.socket | None:
        """The next connection of our own user or root; None if there is none."""
        try:
            sock, _ = self.socket.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
                raise
            return None
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", raw)
        if uid not in (0, os.getuid()):
            sock.close()
            return None
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        """Serve no more; a successor may start."""
        self._path.unlink(missing_ok=True)
        self.socket.close()
        os.close(self._lock)


class Connection:
    """One node. `broken`: to be closed."""

    def __init__(
        self,
        sock: socket.socket,
        engine: Engine,
        welcome: wire.Welcome,
        measured: Callable[[str], dict[str, dict[str, float]]],
        on_bug: Callable[[Exception], None],
    ) -> None:
        self._on_bug = on_bug
        self.socket = sock
        self.fd = sock.fileno()
        self.node = ""
        self.shards: dict[str, int] = {}
        self.broken = False
        self._engine = engine
        self._welcome = welcome
        self._measured = measured
        self._frames = wire.Frames()
        self._out = bytearray()

    @property
    def wants_to_write(self) -> bool:
        """There is something that the socket did not take."""
        return bool(self._out)

    def read(self) -> None:
        """Take what has come."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._frames.feed(data)
        else:
            self.broken = True

    def step(self, now_ms: int) -> bool:
        """Answer one request; false if there is none complete."""
        try:
            body = self._frames.take()
            if body is None:
                return False
            self._answer(wire.request(body), now_ms)
        except wire.BadFrame:
            self.broken = True
            return False
        return True

    def say(self, message: wire.Reply) -> None:
        """Send, or keep what the socket does not take now."""
        self._out += wire.frame(message)
        if len(self._out) > MAX_BACKLOG:
            self.broken = True

    def flush(self) -> None:
        """Send what is kept."""
        if not self._out:
            return
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            return
        del self._out[:sent]

    def _answer(self, request: wire.Request, now_ms: int) -> None:
        if not self.node and not isinstance(request, wire.Hello):
            raise wire.BadFrame("no hello")
        match request:
            case wire.Hello(node, shards):
                self._hello(node, shards)
            case wire.Apply(n, session):
                try:
                    self.say(wire.Done(n, self._engine.apply(session, now_ms)))
                except Refused as error:
                    self.say(wire.No(n, error.reason, error.detail))
                except Exception as error:  # noqa: BLE001
                    # The boundary: a bug that one session brings out ends that session here. With
                    # the process all calls would fall silent, and again when it is applied again.
                    self._engine.discard(session.shard, session.id)
                    self._on_bug(error)
                    self.say(wire.No(n, "overload", "bug"))
            case wire.Delete(n, shard, epoch, session_id):
                try:
                    self._engine.delete(shard, epoch, session_id)
                    self.say(wire.Done(n, None))
                except Refused as error:
                    self.say(wire.No(n, error.reason, error.detail))
            case wire.Query(n, shard, epoch):
                try:
                    self._list(n, self._engine.query(shard, epoch))
                except Refused as error:
                    self.say(wire.No(n, error.reason, error.detail))
            case wire.Measure(n, session_id):
                self.say(wire.Measured(n, self._measured(session_id)))

    def _hello(self, node: str, shards: dict[str, int]) -> None:
        fresh = [shard for shard, epoch in shards.items() if self.shards.get(shard) != epoch]
        self.node = node
        self.shards = shards
        self.say(self._welcome)
        for shard in fresh:
            try:
                self._engine.heed(shard, shards[shard])
            except Refused:
                continue  # a newer active commands it: no events for this one
            for event in self._engine.pending(shard):
                self.say(wire.Happened(shard, event))

    def _list(self, n: int, counters: dict[str, int]) -> None:
        items = list(counters.items())
        for start in range(0, max(1, len(items)), SLICE):
            more = start + SLICE < len(items)
            self.say(wire.Listed(n, dict(items[start : start + SLICE]), more))
