"""The clocks of this process, in milliseconds."""

import time

_jumped_ms = 0


def now_ms() -> int:
    """Monotonic."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000 + _jumped_ms


def jump(jumped_ms: int) -> None:
    """For drills: from now on this process's wall clock is so far from the machine's."""
    global _jumped_ms  # a process has one wall clock
    _jumped_ms = jumped_ms
