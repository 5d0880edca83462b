"""What the node that watches a device knows of it: what its last polls have shown."""

import msgspec

from gateway_mgmt.ds1 import INTERVALS_MAX, Row, is_known
from gateway_mgmt.reading import Reading


class Known(msgspec.Struct):
    """One device. Nothing of it is replicated: the next node polls."""

    at_ms: int = 0
    """Unix time of the last report; 0: none came yet."""
    reading: Reading | None = None
    """The last answer."""
    rows: dict[int, list[Row]] = {}
    """The newest intervals of each span, the oldest first."""
    trouble: str = ""
    """Why nothing, or not all, could be read, for a person."""
    missed: int = 0
    """Polls in a row without an answer."""

    def add(self, span: int, row: Row) -> None:
        """Keep an interval, once and in order, and INTERVALS_MAX of them."""
        rows = self.rows.setdefault(span, [])
        if is_known((one.start_ms for one in rows), row.start_ms):
            return
        rows.append(row)
        rows.sort(key=lambda one: one.start_ms)
        del rows[:-INTERVALS_MAX]
