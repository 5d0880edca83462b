"""When a node takes no new calls: its loop is late, or commits are slow, for longer than a hiccup.

One pause of the machine costs no caller his call, nor does a standby that hangs: no commit waits
for it longer than `cluster.replicas.IN_SYNC_TIMEOUT_MS`. Lateness that lasts does, before it costs
all of them theirs.
"""

LAG_MS_MAX = 100
COMMIT_MS_MAX = 200
MEMORY_MS = 1_000
"""Lateness is averaged over about so long."""


class Lag:
    """The smoothed lateness of something that should happen on time."""

    def __init__(self) -> None:
        self.ms = 0.0

    def saw(self, late_ms: float, elapsed_ms: float) -> None:
        """It was `late_ms` late, `elapsed_ms` after the last look."""
        weight = min(1.0, elapsed_ms / MEMORY_MS)
        self.ms += (late_ms - self.ms) * weight


def is_overloaded(*, lag_ms: float, commit_ms: float) -> bool:
    """Whether new calls are refused with 503; calls that are up go on. Both times are smoothed."""
    return lag_ms > LAG_MS_MAX or commit_ms > COMMIT_MS_MAX
