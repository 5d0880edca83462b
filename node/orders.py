"""What an operator orders of a node's shards: switchover and drain.

A refusal names what is in the way and what can be done about it.
"""

from typing import Any

from cluster.io.host import HAND_OVER_MS, Host
from cluster.store import node_of
from node.api import NotHere, Refused


async def switchover(host: Host, shard: str, to: str) -> dict[str, Any]:
    """Hand the shard over, to the best successor if `to` is "". Raises Refused, NotHere."""
    states = host.states()
    if shard not in states:
        raise Refused(f"no shard {shard!r}; known: {', '.join(states)}")
    if to and to not in host.addresses:
        raise Refused(f"no node {to!r}; known: {', '.join(host.addresses)}")
    state = states[shard]
    if state.role != "active":
        raise NotHere(f"shard {shard} is not active on {host.node}")
    if to == host.node:
        raise Refused(f"shard {shard} is led by {to} already")
    if not state.serving:
        raise Refused(f"shard {shard} is on its way to or from {host.node}; ask again")
    ready = host.shard(shard).core.successors()
    if to and to not in ready:
        in_sync = ", ".join(map(node_of, state.in_sync))
        raise Refused(f"{to} is not in sync with shard {shard}; in sync: {in_sync}")
    if not ready:
        raise Refused(f"no other node is in sync with shard {shard}; it stays with {host.node}")
    went = await host.hand_over(shard, to)
    if not went:
        who = f"{to} did not take" if to else "no other node took"
        within = f"within {HAND_OVER_MS / 1_000:g} s"
        raise Refused(f"{who} shard {shard} over {within}; it stays with {host.node}")
    return {"shard": shard, "from": host.node, "to": went}
