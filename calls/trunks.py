"""What a shard of calls knows of trunks, as the shards of alarms tell it: which may be used."""

from collections.abc import Container

from calls.turn import Turn
from gateway_mgmt.trunks import TrunkState, is_news

PREFIX = "trunk/"


def is_trunk(key: str) -> bool:
    """Is it the record of a trunk?"""
    return key.startswith(PREFIX)


def told(t: Turn, state: TrunkState) -> None:
    """Keep the state, unless a newer one is known. A repeat is harmless."""
    key = PREFIX + state.trunk
    known: TrunkState | None = t.tx.get(key)
    if is_news(known, state):
        t.tx.put(key, state)
        why = list(state.why)
        t.fact("trunk", trunk=state.trunk, state=state.state, channels=state.channels, why=why)


def forget_others(t: Turn, declared: Container[str]) -> None:
    """Of trunks that are declared no more nothing is kept."""
    for key in t.tx.keys(PREFIX):
        if key.removeprefix(PREFIX) not in declared:
            t.tx.delete(key)
