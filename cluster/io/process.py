"""This process's identity, and whether another one of this host still runs."""

import os
import socket
from pathlib import Path

from cluster.process import is_provably_gone, start_time
from cluster.store import Process


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def host_id() -> str:
    """The machine's id, or its name where there is none."""
    try:
        return Path("/etc/machine-id").read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()


def running_since(pid: int) -> int | None:
    """Start time of the process that has this pid now; None if none runs."""
    try:
        return start_time(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def this_process(
    node: str,
    incarnation: str,
    address: str,
    wall_ms: int,
    site: str = "",
    journals: str = "",
) -> Process:
    """What this process writes down about itself."""
    since = running_since(os.getpid())
    assert since is not None
    return Process(
        node=node,
        incarnation=incarnation,
        pid=os.getpid(),
        start_time=since,
        host=host_id(),
        boot_id=boot_id(),
        address=address,
        started_ms=wall_ms,
        site=site,
        journals=journals,
    )


def is_gone(process: Process) -> bool:
    """True only if it certainly runs no more."""
    return is_provably_gone(
        process, host=host_id(), boot_id=boot_id(), running=running_since(process.pid)
    )
