"""A process that is stopped by SIGSTOP stands only a moment later: each of its threads has to."""

import contextlib
import time
from pathlib import Path

from cluster.process import is_stopped

ENDS_S = 5.0
"""So long is waited for it."""


def stands_still(pid: int) -> bool:
    """Has every thread of it been stopped, or is it gone?"""
    with contextlib.suppress(OSError):
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return all(is_stopped((task / "stat").read_text()) for task in tasks)
    return True


def wait_until_still(pid: int) -> None:
    """It has been sent SIGSTOP. Raises TimeoutError."""
    until_s = time.monotonic() + ENDS_S
    while not stands_still(pid):
        if time.monotonic() > until_s:
            raise TimeoutError(f"a stopped process still runs after {ENDS_S:g} s")
        time.sleep(0.000_5)
