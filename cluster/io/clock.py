"""The clocks of this process, in milliseconds."""

import time


def now_ms() -> int:
    """Monotonic."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000
