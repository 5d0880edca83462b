"""The gateways' part of the centre's file: read into an inventory, and written again."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec.structs import asdict

from gateway_mgmt.inventory import (
    NONE,
    POLL_MS,
    SPANS_MAX,
    Address,
    Carrier,
    Device,
    Inventory,
    Site,
    Span,
    Trunk,
    read_slots,
    slots_in_words,
)
from node.access_file import access_as_file, read_snmp
from node.fields import HOST, HOUR_MS, NAME, clash, ip_address, shown, text_of
from node.receivers_file import read_receiver, receiver_as_file
from node.sites_file import UNSAID_OF_PROFILE, read_own_profile, read_site, site_as_file
from node.yaml_tree import Tree, in_words

SECTIONS = ("sites", "carriers", "devices", "trunks", "receivers", "profiles")
SNMP_PORT = 161
SIP_PORT = 5060
POLL_MIN_MS = 1_000
INDEX_MOST = 2_147_483_647


Fields = dict[str, Any]


def read_inventory(
    top: Mapping[str, Tree],
    numbers: Collection[str],
    queues: Collection[str],
    profiles: Collection[str],
) -> Inventory:
    """From the sections of a centre's file. `profiles`: the shipped ones. Raises ConfigError."""
    own = {name: read_own_profile(tree) for name, tree in _entries(top.get("profiles")).items()}
    sites: dict[str, Site] = {}
    for name, tree in _entries(top.get("sites")).items():
        sites[name] = site = read_site(tree)
        for other, at in sites.items():
            if other != name and site.traps and at.traps and clash(site.traps, at.traps):
                raise tree.wrong_at(
                    ("traps",), f"is in the way of site {other}, which has {shown(at.traps)}"
                )
    carriers = {}
    for name, tree in _entries(top.get("carriers")).items():
        fields = tree.fields(("name", "contact"))
        carriers[name] = Carrier(text_of(fields, "name"), text_of(fields, "contact"))
    trunks = {}
    for name, tree in _entries(top.get("trunks")).items():
        fields = tree.fields(("carrier", "numbers", "queues"))
        trunks[name] = Trunk(
            _one_of(fields.get("carrier"), carriers, "carrier"),
            _some_of(fields.get("numbers"), numbers, "number"),
            _some_of(fields.get("queues"), queues, "queue"),
        )
    devices: dict[str, Device] = {}
    owner: dict[Address, str] = {}
    site_of_trunk: dict[str, str] = {}
    for name, tree in _entries(top.get("devices")).items():
        device = _device(tree, sites, trunks, sorted({*profiles, *own}))
        if device.address in owner:
            raise tree.wrong_at(
                ("snmp", "address"), f"is the address of device {owner[device.address]} already"
            )
        owner[device.address] = name
        devices[name] = device
        for number, span in device.spans.items():
            there = site_of_trunk.setdefault(span.trunk, device.site) if span.trunk else ""
            if there and there != device.site:
                raise tree.wrong_at(
                    ("spans", str(number), "trunk"),
                    f"{span.trunk} is of site {there}, and {name} is of {device.site}: "
                    "each site needs a trunk of its own",
                )
    receivers = {name: read_receiver(tree) for name, tree in _entries(top.get("receivers")).items()}
    return Inventory(sites, carriers, devices, trunks, receivers, own)


def _device(
    tree: Tree, sites: Collection[str], trunks: Collection[str], profiles: Collection[str]
) -> Device:
    fields = tree.fields(
        ("site", "profile", "snmp", "sip", "traps_from", "interfaces", "poll", "spans"),
        required=("site", "profile", "snmp"),
    )
    address, access = read_snmp(fields["snmp"], SNMP_PORT)
    given: Fields = {}
    if text_of(fields, "sip"):
        given["sip"] = ip_address(fields["sip"], SIP_PORT)
    if "traps_from" in fields:
        given["traps_from"] = tuple(_host(item) for item in fields["traps_from"].items())
    if "interfaces" in fields:
        given["interfaces"] = tuple(
            item.number(1, INDEX_MOST) for item in fields["interfaces"].items()
        )
    if "poll" in fields:
        given["poll_ms"] = fields["poll"].duration_ms(POLL_MIN_MS, HOUR_MS)
    if "spans" in fields:
        given["spans"] = _spans(fields["spans"], trunks)
    return Device(
        site=fields["site"].one_of(sites, "site"),
        profile=fields["profile"].one_of(profiles, "profile"),
        address=address,
        access=access,
        **given,
    )


def _spans(tree: Tree, trunks: Collection[str]) -> dict[int, Span]:
    spans: dict[int, Span] = {}
    owner: dict[int, int] = {}
    for name, value in tree.mapping().items():
        number = int(name) if re.fullmatch(r"[1-9][0-9]?", name) else 0
        if not 1 <= number <= SPANS_MAX:
            raise value.wrong(f"a span is a number from 1 to {SPANS_MAX}")
        fields = value.fields(("index", "slots", "d_channel", "trunk", "errored_seconds_max"))
        given: Fields = {"index": number}
        if "index" in fields:
            given["index"] = fields["index"].number(1, INDEX_MOST)
        if given["index"] in owner:
            raise value.wrong(f"has the line index of span {owner[given['index']]}", "index")
        owner[given["index"]] = number
        if "slots" in fields:
            slots = read_slots(fields["slots"].text())
            if slots is None:
                raise fields["slots"].wrong("must be time slots from 1 to 31, like 1-15,17-31")
            given["slots"] = slots
        if "d_channel" in fields:
            given["d_channel"] = fields["d_channel"].number(0, 31)
        span = Span(**given)
        if span.d_channel in span.slots:
            raise value.wrong(f"is {span.d_channel}, which carries calls", "d_channel")
        given["trunk"] = _one_of(fields.get("trunk"), trunks, "trunk")
        if "errored_seconds_max" in fields:
            given["errored_seconds_max"] = fields["errored_seconds_max"].number(0, 900)
        spans[number] = Span(**given)
    return spans


def _entries(tree: Tree | None) -> dict[str, Tree]:
    found = tree.mapping() if tree else {}
    for name, value in found.items():
        if not NAME.fullmatch(name):
            raise value.wrong("a name is 1 to 64 letters, digits and . _ - and starts with no mark")
    return found


def _one_of(tree: Tree | None, known: Collection[str], what: str) -> str:
    """One of them; empty, or left out: none."""
    return tree.one_of(known, what) if tree and tree.node.value else ""


def _some_of(tree: Tree | None, known: Collection[str], what: str) -> tuple[str, ...]:
    found: list[str] = []
    for item in tree.items() if tree else ():
        name = item.one_of(known, what)
        if name in found:
            raise item.wrong(f"{name} stands here twice")
        found.append(name)
    return tuple(found)


def _host(tree: Tree) -> str:
    host = tree.text()
    if not HOST.fullmatch(host):
        raise tree.wrong(f"{host!r} is no IPv4 address")
    return host


def inventory_as_file(inventory: Inventory, *, whole: bool = False) -> Fields:
    """The sections, with every field that is not as it is when left out; `whole`: all."""
    if inventory == NONE and not whole:
        return {}
    written: dict[str, dict[str, tuple[Fields, Fields]]] = {
        "sites": {
            name: (site_as_file(site), site_as_file(Site()))
            for name, site in inventory.sites.items()
        },
        "carriers": {
            name: (asdict(carrier), asdict(Carrier()))
            for name, carrier in inventory.carriers.items()
        },
        "devices": {
            name: (_device_fields(device, whole), _UNSAID)
            for name, device in inventory.devices.items()
        },
        "trunks": {
            name: (_trunk_fields(trunk), _trunk_fields(Trunk()))
            for name, trunk in inventory.trunks.items()
        },
        "profiles": {
            name: (msgspec.to_builtins(profile), UNSAID_OF_PROFILE)
            for name, profile in inventory.profiles.items()
        },
        "receivers": {
            name: (receiver_as_file(receiver), {}) for name, receiver in inventory.receivers.items()
        },
    }
    return {
        section: {
            name: {
                field: value
                for field, value in fields.items()
                if whole or field not in unsaid or value != unsaid[field]
            }
            for name, (fields, unsaid) in entries.items()
        }
        for section, entries in written.items()
        if entries or whole
    }


_UNSAID: Fields = {
    "sip": "",
    "traps_from": [],
    "interfaces": [],
    "poll": in_words(POLL_MS),
    "spans": {},
}


def _device_fields(device: Device, whole: bool) -> Fields:
    return {
        "site": device.site,
        "profile": device.profile,
        "snmp": {"address": shown(device.address), **access_as_file(device.access, whole=whole)},
        "sip": shown(device.sip) if device.sip else "",
        "traps_from": list(device.traps_from),
        "interfaces": list(device.interfaces),
        "poll": in_words(device.poll_ms),
        "spans": {str(number): _span_fields(number, span) for number, span in device.spans.items()},
    }


def _span_fields(number: int, span: Span) -> Fields:
    fields, unsaid = (
        asdict(one) | {"slots": slots_in_words(one.slots)} for one in (span, Span(number))
    )
    return {name: value for name, value in fields.items() if value != unsaid[name]}


def _trunk_fields(trunk: Trunk) -> Fields:
    return {
        "carrier": trunk.carrier,
        "numbers": list(trunk.numbers),
        "queues": list(trunk.queues),
    }
