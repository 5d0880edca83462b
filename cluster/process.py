"""When is a process provably gone, and what is it that must be compared before one is ended?"""

from cluster.store import Process

SHARD_KEYS = "shard/"
PROCESS_KEYS = "process/"


def shard_key(shard: str) -> str:
    return f"{SHARD_KEYS}{shard}"


def process_key(node: str, incarnation: str) -> str:
    return f"{PROCESS_KEYS}{node}:{incarnation}"


def start_time(stat: str) -> int | None:
    """Field 22 of the text of /proc/PID/stat; None for a zombie, which runs no more.

    The command name (field 2) is in brackets and may hold blanks and brackets itself.
    """
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X", "x") else int(fields[19])


def is_stopped(stat: str) -> bool:
    """Stopped by a signal or a debugger (states T and t): it does nothing until it is continued."""
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def is_provably_gone(process: Process, *, host: str, boot_id: str, running: int | None) -> bool:
    """`running`: start time of what has its pid on this host now, or None. Elsewhere: no proof."""
    if process.host != host:
        return False
    return process.boot_id != boot_id or running != process.start_time
