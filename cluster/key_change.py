"""Changes a shard's key by compare-and-set, until it is certain what became of it."""

from typing import assert_never

from cluster.roles import Decided, Found, Outside
from cluster.store import Lost, ShardKey, Unknown, Won, decode_key, encode_key

RETRY_MS = 50
"""Between two reads of a store that does not answer."""


def change_key(outside: Outside, rev: int, wanted: ShardKey, decided: Decided) -> None:
    """Put `wanted` in place of what stood at `rev`, or learn that another one did so first.

    Nobody else asks for this value, and it differs from what stood at `rev`, so reading it back
    tells. If an unknown change is not there yet it may still arrive: it is tried again at the same
    revision, where at most one of the two can succeed.
    """

    def answered(answer: Won | Lost | Unknown) -> None:
        match answer:
            case Won(won_rev):
                decided(True, won_rev, wanted)
            case Lost(lost_rev, value):
                stands = decode_key(value)
                decided(stands == wanted, lost_rev, stands)
            case Unknown():
                outside.read(read_back)
            case _:
                assert_never(answer)

    def read_back(found: Found | None) -> None:
        if found is None:
            outside.later(RETRY_MS, lambda: outside.read(read_back))
            return
        stands = decode_key(found[1])
        if stands == wanted:
            decided(True, found[0], wanted)
        elif found[0] != rev:
            decided(False, found[0], stands)
        else:
            outside.cas(rev, encode_key(wanted), answered)

    outside.cas(rev, encode_key(wanted), answered)
