"""`keepline promote`: go on with one node's records of a shard that nobody may lead by himself.

First what that would mean, then, if the person who reads it says so, exactly that.
"""

from typing import Any

import msgspec

from cluster.io.host import Host
from cluster.promotion import refusal, statement
from cluster.store import StoreAway
from node.api import Refused


async def promote(host: Host, shard: str, *, yes: bool, read: str) -> dict[str, Any]:
    """What this node would bring, and with `yes` that it does. Raises Refused.

    `read`: the `offer` of an earlier answer; if it is not that any more, it is refused. Empty: any.
    """
    if shard not in host.states():
        raise Refused(f"no shard {shard!r}; known: {', '.join(host.states())}")
    try:
        offer = await host.survivors.offer(shard)
    except StoreAway:
        raise Refused("the store does not answer: nobody can lead now") from None
    why = refusal(offer)
    if why:
        raise Refused(why)
    mark = f"{offer.key_epoch}/{offer.source}/{offer.epoch}/{offer.end}"
    if read and read != mark:
        raise Refused(f"what {host.node} has of shard {shard} has changed; look again")
    if yes:
        why = await host.survivors.promote(shard)
        if why:
            raise Refused(f"shard {shard}: {why}")
    told = msgspec.to_builtins(offer)
    return {**told, "offer": mark, "statement": statement(offer), "promoted": yes}
