"""Records decoded before they are needed: a successor that was told in time leads sooner.

What has changed since is another object of bytes, so that nothing stale can be taken for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

SLICE = 100
"""Decoded in one go, while another node leads and ours have other work."""


class Ahead:
    """One shard's records, as they stood when it began."""

    def __init__(self, records: Mapping[str, bytes]) -> None:
        self._todo = list(records.items())
        self._done: dict[str, tuple[bytes, Any]] = {}

    def decode_some(self, decode: Callable[[str, bytes], Any]) -> bool:
        """False: nothing is left. What cannot be decoded is left to whoever must."""
        for _ in range(min(SLICE, len(self._todo))):
            key, data = self._todo.pop()
            try:
                self._done[key] = data, decode(key, data)
            except Exception:  # noqa: BLE001 - he does it again, and says what is wrong
                continue
        return bool(self._todo)

    def take(self, key: str, data: bytes) -> Any | None:
        """The record, if these very bytes were decoded; not a second time."""
        found = self._done.pop(key, None)
        return found[1] if found is not None and found[0] is data else None
