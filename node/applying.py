"""A change of the centre on a running cluster: what the nodes know that stands in its way."""

from collections.abc import Mapping
from typing import Any

from calls.acceptable import Conflict
from calls.centre import Centre
from cluster.io.security import Security
from node import merge
from node.addresses import taken
from node.api import ApiClient, Wanted
from node.configuration import Configuration

ANSWER_MS = 2_000
"""How long another node may take to say which agents it has."""


async def apply(
    configuration: Configuration,
    addresses: Mapping[str, str],
    wanted: Wanted,
    security: Security | None = None,
) -> dict[str, Any]:
    """`addresses`: where each node's API listens; `security`: how it is asked. Raises Refused."""

    async def check(old: Centre, new: Centre) -> Conflict | None:
        return address_taken(old, new) or await still_elsewhere(addresses, old, new, security)

    return await configuration.change(wanted, check)


def address_taken(old: Centre, new: Centre) -> Conflict | None:
    """A new shard's address that cannot be had: every node is on this machine."""
    for name, shard in new.shards.items():
        why = "" if name in old.shards or name in old.closing else taken(name, shard.sip)
        if why:
            return Conflict(("shards", name, "sip"), why)
    return None


async def still_elsewhere(
    addresses: Mapping[str, str], old: Centre, new: Centre, security: Security | None = None
) -> Conflict | None:
    """An agent who is new in one shard and has a call to finish in another.

    A shard that nobody answers for just now is not waited for: should it have a call of his, his
    phone is what refuses the second.
    """
    added = {name: new.shard_of_agent(name) for name in new.agents if name not in old.agents}
    if not added:
        return None
    client = ApiClient(security)
    try:
        found = await client.read_each(addresses, "agents", timeout_ms=ANSWER_MS)
    finally:
        await client.close()
    for row in merge.rows(found):
        if added.get(row["agent"], row["shard"]) != row["shard"]:
            return Conflict(
                ("agents", row["agent"], "queues"),
                f"he has a call to finish in shard {row['shard']} still; apply again when it ended",
            )
    return None
