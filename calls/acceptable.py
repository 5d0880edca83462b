"""Which change of a centre cannot be made while calls may be up, and what is removed goes when.

What a phone in a call answers to stays; a queue and an agent stay in their shard, since nothing but
the end of their calls moves calls from shard to shard. All else may change at any time.
"""

from collections.abc import Container
from typing import NamedTuple

from msgspec.structs import replace

from calls.centre import Address, Centre, Shard
from gateway_mgmt.plan import shard_of, sites_with_devices


class Conflict(NamedTuple):
    """What is wrong with a centre as a successor."""

    path: tuple[str, ...]
    """Where it stands: section, name, field."""
    why: str


def conflict(
    old: Centre, new: Centre, *, closed: Container[str], is_stopped: bool = False
) -> Conflict | None:
    """Why `new` cannot follow `old`; the first reason found.

    `closed`: shards that are removed and have nothing left. `is_stopped`: no node runs, so that
    nobody has to leave an address.
    """
    living = _living(old, closed)
    for name, shard in new.shards.items():
        if not is_stopped and name in living and living[name].sip != shard.sip:
            return Conflict(
                ("shards", name, "sip"),
                f"must stay {shown(living[name].sip)} while the cluster runs: "
                "that is what phones in its calls answer to",
            )
        for other, was in living.items():
            if other not in new.shards and was.sip == shard.sip:
                return Conflict(
                    ("shards", name, "sip"),
                    f"is the address of shard {other} until its last call has ended",
                )
    for name, queue in new.queues.items():
        before = old.queues.get(name)
        if before is not None and before.shard != queue.shard:
            return Conflict(
                ("queues", name, "shard"),
                f"must stay {before.shard}: its callers wait there; a queue in {queue.shard} "
                "needs another name",
            )
    for name in new.agents:
        if name in old.agents and old.shard_of_agent(name) != new.shard_of_agent(name):
            return Conflict(
                ("agents", name, "queues"),
                f"are of shard {new.shard_of_agent(name)}, and he is of "
                f"{old.shard_of_agent(name)}: remove him first, and add him with the next version",
            )
    return None


def successor(old: Centre, new: Centre, *, closed: Container[str]) -> Centre:
    """`new`, with what it has no more of `old`: shards, until their calls have ended, and sites,
    until what is to be told of them is told. `closed`: the shards of which nothing is left."""
    closing = {
        name: shard for name, shard in _living(old, closed).items() if name not in new.shards
    }
    had = (*sites_with_devices(old.inventory), *old.closing_sites)
    have = sites_with_devices(new.inventory)
    sites = tuple(
        site for site in dict.fromkeys(had) if site not in have and shard_of(site) not in closed
    )
    return replace(new, closing=closing, closing_sites=sites)


def _living(old: Centre, closed: Container[str]) -> dict[str, Shard]:
    closing = {name: shard for name, shard in old.closing.items() if name not in closed}
    return old.shards | closing


def shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
