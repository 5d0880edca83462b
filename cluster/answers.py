"""What a standby says it holds: never more than its journal does.

Where the journal need not be waited for (`held` is EVERYTHING) each answer leaves as it is. With a
journal that is fsynced first, an acknowledgement names what lies on the disk already, and the rest
is said when it does.
"""

from msgspec.structs import replace

from cluster.messages import Ack, Position


class Answers:
    """One member's answers to the active of its epoch."""

    def __init__(self) -> None:
        self._owed: Ack | None = None

    def forget(self) -> None:
        """Another active, or another copy: nothing is owed to it."""
        self._owed = None

    def say(self, answer: Ack | Position, held: int, *, is_whole: bool) -> Ack | Position | None:
        """What may be said of it now; None: nothing yet. `is_whole`: no snapshot is coming in."""
        if isinstance(answer, Position):
            return answer
        if answer.end <= held or (answer.snapshot and not is_whole):
            return answer
        self._owed = answer
        # The last slice of a snapshot is acknowledged when all of it is there.
        return None if answer.snapshot else replace(answer, end=held)

    def grown(self, held: int) -> Ack | None:
        """The journal holds more than before: what can be said now."""
        owed = self._owed
        if owed is None or (owed.snapshot and held < owed.end):
            return None
        if held >= owed.end:
            self._owed = None
        return replace(owed, end=min(owed.end, held))
