"""What it would mean to go on with one node's records of a shard, for the person who decides it.

A promotion is the one thing in a cluster that can lose what was acknowledged, so it is refused
while a member that holds everything is alive, and what may be lost is said before it is done.
"""

import msgspec

from cluster.store import node_of


class Offer(msgspec.Struct):
    """What a node could bring, and what speaks against it."""

    shard: str
    node: str
    now_wall_ms: int
    key_epoch: int = 0
    """Of the shard's key; 0: the store has none."""
    in_sync: tuple[str, ...] = ()
    """Members that held everything."""
    alive: list[str] = msgspec.field(default_factory=list)
    """Those of them that are there, and take over by themselves."""
    not_heard: list[str] = msgspec.field(default_factory=list)
    """Those of them that may be there and do not answer."""
    leader: str = ""
    """The node that leads the shard and answers; "": none does."""
    source: str = ""
    """"copy": in its memory, "journal": on its disk, "": it has nothing."""
    epoch: int = 0
    end: int = 0
    records: int = 0
    wall_ms: int = 0
    """When it took the last batch, or knew that there was none."""
    flaw: str = ""
    """Why its journal may lack something."""

    @property
    def age_ms(self) -> int:
        return max(0, self.now_wall_ms - self.wall_ms)


def refusal(offer: Offer) -> str:
    """Why it cannot be done; "": it can."""
    if offer.leader:
        return f"shard {offer.shard} is led by {offer.leader}"
    if not offer.key_epoch:
        return f"the store knows no shard {offer.shard}"
    if offer.alive:
        nodes = ", ".join(node_of(member) for member in offer.alive)
        return (
            f"shard {offer.shard}: {nodes} held everything and still runs; "
            "it takes over by itself, or must be stopped first"
        )
    if not offer.source:
        return f"{offer.node} has neither a copy nor a journal of shard {offer.shard}"
    return ""


def statement(offer: Offer) -> list[str]:
    """What would be gone on with, and what may be missing, in lines for a person."""
    where = "the copy in the memory" if offer.source == "copy" else "the journal"
    lines = [
        f"shard {offer.shard} would go on with {where} of {offer.node}: {offer.records} records, "
        f"up to number {offer.end} of epoch {offer.epoch}, {_age(offer.age_ms)} old",
        f"it was last led in epoch {offer.key_epoch}; in sync were {_names(offer.in_sync)}",
    ]
    if offer.flaw:
        lines.append(f"the journal may lack its end: {offer.flaw}")
    lines.append("whatever was acknowledged to callers and agents after that is lost")
    if offer.not_heard:
        lines.append(
            f"not heard: {_names(offer.not_heard)}; make sure that they are off: what they still "
            "acknowledge is lost, too"
        )
    return lines


def _names(members: "tuple[str, ...] | list[str]") -> str:
    return ", ".join(members) or "nobody"


def _age(age_ms: int) -> str:
    seconds = age_ms / 1_000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
