"""A call that came to one shard and is for a number of another: how it gets there."""

from typing import NamedTuple

from calls.centre import Address, Centre


class Elsewhere(NamedTuple):
    """Where a number belongs, and how the shard that was called lets the call get there."""

    how: str
    """relay or redirect."""
    sip: Address


def elsewhere(centre: Centre, shard: str, number: str) -> Elsewhere | None:
    """None: the number is the shard's own, or nobody's, or its calls are to be refused here."""
    if number not in centre.numbers:
        return None
    owner = centre.shard_of_number(number)
    if owner == shard or owner not in centre.shards:
        return None
    here = centre.shards.get(shard) or centre.closing.get(shard)
    how = (here.elsewhere if here else "") or centre.elsewhere
    return None if how == "refuse" else Elsewhere(how, centre.shards[owner].sip)
