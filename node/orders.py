"""What an operator orders of shards and nodes: switchover, drain, undrain, forget.

A refusal names what is in the way and what can be done about it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from cluster.io.clock import now_ms
from cluster.io.handing import HAND_OVER_MS
from cluster.io.host import Host
from cluster.roles import Active, Follower
from cluster.store import StoreAway, node_of
from node.api import NotHere, Refused

LOOK_MS = 20
"""How often a drain looks whether it is done."""

Document = dict[str, Any]


async def switchover(host: Host, shard: str, to: str) -> Document:
    """Hand the shard over, to the best successor if `to` is "". Raises Refused, NotHere."""
    states = host.states()
    if shard not in states:
        raise Refused(f"no shard {shard!r}; known: {', '.join(states)}")
    if to:
        _check_known(host, to)
    state = states[shard]
    if state.role != "active":
        raise NotHere(f"shard {shard} is not active on {host.node}")
    if to == host.node:
        raise Refused(f"shard {shard} is led by {to} already")
    if to in host.nodes.roster.draining:
        raise Refused(f"{to} drains; keepline undrain {to} ends that")
    if not state.serving:
        raise Refused(f"shard {shard} is on its way to or from {host.node}; ask again")
    ready = host.shard(shard).core.successors()
    if to and to not in ready:
        in_sync = ", ".join(map(node_of, state.in_sync))
        raise Refused(f"{to} is not in sync with shard {shard}; in sync: {in_sync}")
    able = [name for name in ready if name not in host.nodes.roster.draining]
    if not able:
        raise Refused(f"no other node is in sync with shard {shard}; it stays with {host.node}")
    try:
        for name in [to] if to else able:
            if await host.switch_over(shard, name):
                return {"shard": shard, "from": host.node, "to": name}
    except StoreAway:
        raise Refused(f"the store does not answer; {shard} stays with {host.node}") from None
    if host.shard(shard).state().role != "active":
        raise Refused(f"shard {shard} went to {_leader(host, shard) or 'nobody'} meanwhile")
    who = f"{to} did not take" if to else "no other node took"
    within = f"within {HAND_OVER_MS / 1_000:g} s"
    raise Refused(f"{who} shard {shard} over {within}; it stays with {host.node}")


async def drain(host: Host, node: str, timeout_ms: int) -> Document:
    """Keep a node from leading anything. This one is waited for; of another one it is only noted.

    Raises Refused; if it took too long the order stands all the same.
    """
    node = node or host.node
    _check_known(host, node)
    led = _led(host) if node == host.node else []
    others = [one.name for one in host.nodes.roster.nodes(now_ms()) if one.usable]
    if led and not [name for name in others if name != node]:
        stay = "it stays" if len(led) == 1 else "they stay"
        raise Refused(f"no other node could take {', '.join(led)}; {stay} with {node}")
    await _stored(host.nodes.drain(node))
    until_ms = now_ms() + timeout_ms
    while left := [name for name in led if name in _led(host)]:
        if now_ms() > until_ms:
            raise Refused(
                f"not within {timeout_ms / 1_000:g} s: {', '.join(left)} still with {node}, which "
                f"goes on draining; keepline undrain {node} ends that"
            )
        await asyncio.sleep(LOOK_MS / 1_000)
    return {"node": node, "moved": {name: _leader(host, name) for name in led}}


async def undrain(host: Host, node: str) -> Document:
    """Let a node take part again. Raises Refused."""
    if node not in host.nodes.roster.draining:
        _check_known(host, node)
        raise Refused(f"{node} does not drain")
    await _stored(host.nodes.undrain(node))
    return {"node": node}


async def forget(host: Host, node: str) -> Document:
    """Miss a node no more that is gone for good. Raises Refused."""
    _check_known(host, node)
    roster = host.nodes.roster
    if any(one.name == node and one.up for one in roster.nodes(now_ms())):
        raise Refused(f"{node} is up; stop it, and it is forgotten")
    if roster.is_named(node):
        raise Refused(f"{node} is one of {host.node}'s --peers; it is always missed")
    await _stored(host.nodes.forget(node))
    if node in host.addresses:
        raise Refused(f"{node} held the last copies of a shard: nobody leads it without {node}")
    return {"node": node}


def _check_known(host: Host, node: str) -> None:
    if node not in host.addresses:
        raise Refused(f"no node {node!r}; known: {', '.join(host.addresses)}")


async def _stored(change: Awaitable[None]) -> None:
    try:
        await change
    except StoreAway:
        raise Refused("the store does not answer; nothing was changed") from None


def _led(host: Host) -> list[str]:
    return [name for name, here in host.shards.items() if isinstance(here.core.role, Active)]


def _leader(host: Host, shard: str) -> str:
    role = host.shard(shard).core.role
    return role.leader if isinstance(role, Follower) else ""
