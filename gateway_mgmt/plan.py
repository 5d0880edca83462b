"""What is declared, as the shards of alarms decide by it: one shard for each site with devices."""

from collections.abc import Collection

from gateway_mgmt.alarms.records import Plan
from gateway_mgmt.inventory import Inventory
from gateway_mgmt.trunks import Trunk

PREFIX = "gateways@"
"""No shard of calls has a name that begins so."""


def shard_of(site: str) -> str:
    """The shard that decides of a site's alarms."""
    return f"{PREFIX}{site}"


def site_of(shard: str) -> str:
    """The site of a shard of alarms; empty: it is one of calls."""
    return shard.removeprefix(PREFIX) if shard.startswith(PREFIX) else ""


def sites_with_devices(inventory: Inventory) -> tuple[str, ...]:
    """In the order of the file."""
    found = {device.site for device in inventory.devices.values()}
    return tuple(site for site in inventory.sites if site in found)


def plan(inventory: Inventory, site: str, shards: Collection[str]) -> Plan:
    """Of one site. `shards`: those of calls, which are told of its trunks."""
    devices = {name: one for name, one in inventory.devices.items() if one.site == site}
    trunks = {}
    for name, trunk in inventory.trunks.items():
        spans = {
            f"{device}/{number}": len(devices[device].spans[number].slots)
            for device, number in inventory.spans_of(name)
            if device in devices
        }
        if spans:
            trunks[name] = Trunk(spans, trunk.carrier, trunk.numbers, trunk.queues)
    declared = inventory.sites.get(site)
    return Plan(
        gateways={name: {} for name in devices},
        trunks=trunks,
        kinds=declared.kinds if declared else {},
        receivers=tuple(inventory.receivers),
        shards=tuple(shards),
    )
