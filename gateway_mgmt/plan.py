"""What is declared, as the shards of alarms decide by it: one shard for each site with devices."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from cluster.durations import duration_ms
from gateway_mgmt import observable
from gateway_mgmt.alarms.kinds import DEFAULTS, NOT_KNOWN, Kind
from gateway_mgmt.alarms.records import Plan
from gateway_mgmt.inventory import Device, Inventory
from gateway_mgmt.profile import Profile, Tuning
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


def profiles_of(inventory: Inventory, shipped: Mapping[str, Profile]) -> dict[str, Profile]:
    """By name. One that is declared goes before a shipped one of its name."""
    return {**shipped, **inventory.profiles}


def plan(
    inventory: Inventory,
    site: str,
    shards: Collection[str],
    shipped: Mapping[str, Profile] = MappingProxyType({}),
) -> Plan:
    """Of one site. `shards`: those of calls, which are told of its trunks. `shipped`: profiles
    that need not be declared.
    """
    devices = {name: one for name, one in inventory.devices.items() if one.site == site}
    spans: dict[str, dict[str, int]] = {}
    for name, device in devices.items():
        for number, span in device.spans.items():
            spans.setdefault(span.trunk, {})[f"{name}/{number}"] = len(span.slots)
    trunks = {
        name: Trunk(spans[name], trunk.carrier, trunk.numbers, trunk.queues)
        for name, trunk in inventory.trunks.items()
        if name in spans
    }
    declared = inventory.sites.get(site)
    here = declared.kinds if declared else {}
    profiles = profiles_of(inventory, shipped)
    kinds = {
        name: {
            condition: tuned(here.get(condition) or DEFAULTS.get(condition, NOT_KNOWN), tuning)
            for condition, tuning in profile.alarms.items()
        }
        for name, profile in profiles.items()
    }
    found, conditions = looked_for(devices, profiles)
    return Plan(
        gateways={name: kinds.get(device.profile, {}) for name, device in devices.items()},
        trunks=trunks,
        kinds=here,
        receivers=tuple(inventory.receivers),
        shards=tuple(shards),
        looked_for=found,
        conditions=conditions,
    )


def looked_for(
    devices: Mapping[str, Device], profiles: Mapping[str, Profile]
) -> tuple[dict[str, int], tuple[tuple[str, ...], ...]]:
    """`Plan.looked_for` and `Plan.conditions`; both empty if a profile is not known here."""
    found: dict[str, int] = {}
    conditions: dict[tuple[str, ...], int] = {}
    of_kind: dict[tuple[str, bool], int] = {}  # thousands of lines are of few kinds
    for name, device in devices.items():
        if device.profile not in profiles:
            return {}, ()
        found[name] = conditions.setdefault(observable.of_device(device), len(conditions))
        for number, span in device.spans.items():
            kind = device.profile, bool(span.errored_seconds_max)
            if kind not in of_kind:
                of_span = observable.of_span(profiles[device.profile], span)
                of_kind[kind] = conditions.setdefault(of_span, len(conditions))
            found[f"{name}/{number}"] = of_kind[kind]
    return found, tuple(conditions)


def tuned(kind: Kind, tuning: Tuning) -> Kind:
    """`kind`, with what a profile says of it."""
    return replace(
        kind,
        severity=tuning.severity or kind.severity,
        soak_ms=_ms(tuning.soak, kind.soak_ms),
        hold_ms=_ms(tuning.hold, kind.hold_ms),
    )


def _ms(written: str, usual: int) -> int:
    found = duration_ms(written) if written else None
    return usual if found is None else found
