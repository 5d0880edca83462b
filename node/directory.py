"""The data directory of a cluster on one machine: what lies where, and who holds it.

`lock` is held (flock) through an open file that every process of the cluster inherits, so it is
free exactly when no process of that cluster is left, however each of them ended.
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

LOCK = "lock"
STORE = "store.db"
CLUSTER = "cluster.json"
EVENTS = "events.db"
SNAPSHOTS = "snapshots"
MEDIA_SOCKET = "media.sock"
NODES = "nodes.json"
LOGS = "logs"

MAX_SOCKET_PATH = 100
"""A Unix-domain socket's path has 108 bytes on Linux (unix(7)); some are left for a suffix."""


class DirectoryError(Exception):
    """The data directory cannot be used; the text is the one line a person needs."""


class Directory:
    """Names in the data directory `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lock = self.path / LOCK
        self.store = self.path / STORE
        """Unless the store is elsewhere."""
        self.cluster = self.path / CLUSTER
        self.events = self.path / EVENTS
        self.snapshots = self.path / SNAPSHOTS
        self.media_socket = self.path / MEDIA_SOCKET
        self.nodes = self.path / NODES
        self.logs = self.path / LOGS

    def prepare(self) -> None:
        """Create what is missing and see that it can be written. Raises DirectoryError."""
        if len(os.fsencode(self.media_socket)) > MAX_SOCKET_PATH:
            raise DirectoryError(
                f"{self.path}: the path is too long for a socket; choose one under "
                f"{MAX_SOCKET_PATH - len(MEDIA_SOCKET)} bytes"
            )
        try:
            for folder in (self.path, self.snapshots, self.logs):
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise DirectoryError(f"{self.path}: cannot be written: {error.strerror}") from None

    def check_store(self) -> None:
        """Raises DirectoryError when the store was removed and what it belongs to was not.

        Epochs begin at 1 in a new store: what the database knows of them already would count as
        known, and the calls of now with it. Nodes that still run go on with the removed file.
        """
        if self.events.exists() and not self.store.exists():
            raise DirectoryError(
                f"{self.store}: is missing, but {self.events.name} is there; bring it back, "
                "or start with an empty directory"
            )

    def take(self) -> int:
        """The lock's file descriptor, to be inherited by every child. Raises DirectoryError."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DirectoryError(f"{self.lock}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holders = self.holders()
            os.close(descriptor)
            who = ", ".join(f"{what} (pid {pid})" for pid, what in holders) or "another process"
            raise DirectoryError(f"{self.path}: in use by {who}; stop them first") from None
        return descriptor

    def holders(self) -> list[tuple[int, str]]:
        """Who has the lock's file open: process id and what it is, as far as we may look."""
        try:
            wanted = self.lock.stat()
        except OSError:
            return []
        names = {node["pid"]: f"node {node['name']}" for node in self.known_nodes()}
        found = []
        for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            pid = int(entry.name)
            if pid != os.getpid() and holds(entry / "fd", wanted):
                found.append((pid, names.get(pid) or role(entry)))
        return found

    def known_nodes(self) -> list[dict[str, Any]]:
        """The nodes as `up` wrote them: name, pid, api, link, metrics; empty: none."""
        try:
            nodes = json.loads(self.nodes.read_bytes())
        except (OSError, ValueError):
            return []
        if not isinstance(nodes, list) or not all(map(is_node, nodes)):
            return []
        return nodes

    def write_nodes(self, nodes: list[dict[str, Any]]) -> None:
        """Replace the list of nodes in one step."""
        fresh = self.nodes.with_suffix(".new")
        fresh.write_text(json.dumps(nodes, indent=1) + "\n")
        fresh.replace(self.nodes)


def is_node(known: object) -> bool:
    """Is this what `write_nodes` writes of a node?"""
    return isinstance(known, dict) and {"name", "pid", "api"} <= known.keys()


def holds(descriptors: Path, wanted: os.stat_result) -> bool:
    """Is the file `wanted` open among a process's descriptors?"""
    with contextlib.suppress(OSError):  # not ours to look at, or gone meanwhile
        for descriptor in descriptors.iterdir():
            with contextlib.suppress(OSError):
                seen = descriptor.stat()
                if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def role(process: Path) -> str:
    """What a process of a cluster is, from its command line."""
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if "--socket" in words:
            return "media server"
        if "up" in words:
            return "keepline up"
        if "--name" in words[:-1]:
            return f"node {words[words.index('--name') + 1]}"
    return "process"
