"""The gateways' part of the centre's file: read into an inventory, and written again."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import asdict, replace

from gateway_mgmt.alarms.kinds import DEFAULTS, SEVERITIES, Kind
from gateway_mgmt.inventory import (
    AUTH_PROTOCOLS,
    NONE,
    POLL_MS,
    PRIVACY_PROTOCOLS,
    SPANS_MAX,
    Address,
    Carrier,
    Community,
    Device,
    Inventory,
    Site,
    Span,
    Trunk,
    User,
    read_slots,
    slots_in_words,
)
from node.receivers_file import read_receiver, receiver_as_file, reference
from node.yaml_tree import Tree, in_words

SECTIONS = ("sites", "carriers", "devices", "trunks", "receivers")
SNMP_PORT = 161
SIP_PORT = 5060
TRAP_PORT = 162
RAISABLE = SEVERITIES[:-1]
POLL_MIN_MS = 1_000
HOUR_MS = 3_600_000
INDEX_MOST = 2_147_483_647

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
USER_NAME = re.compile(r"[!-~]{1,32}")
HOST = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}")

Fields = dict[str, Any]


def read_inventory(
    top: Mapping[str, Tree],
    numbers: Collection[str],
    queues: Collection[str],
    profiles: Collection[str],
) -> Inventory:
    """From the sections of a centre's file. Raises ConfigError."""
    sites: dict[str, Site] = {}
    for name, tree in _entries(top.get("sites")).items():
        sites[name] = site = _site(tree)
        for other in sites:
            if other != name and site.traps and sites[other].traps == site.traps:
                raise tree.wrong_at(("traps",), f"is the address of site {other} already")
    carriers = {}
    for name, tree in _entries(top.get("carriers")).items():
        fields = tree.fields(("name", "contact"))
        carriers[name] = Carrier(_text(fields, "name"), _text(fields, "contact"))
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
        device = _device(tree, sites, trunks, profiles)
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
    return Inventory(sites, carriers, devices, trunks, receivers)


def _site(tree: Tree) -> Site:
    fields = tree.fields(("name", "traps", "preferred", "alarms"))
    kinds: dict[str, Kind] = {}
    for name, value in fields["alarms"].mapping().items() if "alarms" in fields else ():
        if name not in DEFAULTS:
            raise value.wrong(f"no such condition; known: {', '.join(sorted(DEFAULTS))}")
        kinds[name] = _kind(value, DEFAULTS[name])
    preferred: list[str] = []
    for item in fields["preferred"].items() if "preferred" in fields else ():
        if not NAME.fullmatch(item.text()) or item.text() in preferred:
            raise item.wrong(f"{item.text()!r} is no name of a node, or stands here twice")
        preferred.append(item.text())
    traps = _address(fields["traps"], TRAP_PORT) if _text(fields, "traps") else None
    return Site(_text(fields, "name"), traps, tuple(preferred), kinds)


def _kind(tree: Tree, usual: Kind) -> Kind:
    fields = tree.fields(("severity", "soak", "hold"))
    given: Fields = {}
    if "severity" in fields:
        given["severity"] = fields["severity"].one_of(RAISABLE, "severity")
    for name in ("soak", "hold"):
        if name in fields:
            given[f"{name}_ms"] = fields[name].duration_ms(0, HOUR_MS)
    return replace(usual, **given)


def _device(
    tree: Tree, sites: Collection[str], trunks: Collection[str], profiles: Collection[str]
) -> Device:
    fields = tree.fields(
        ("site", "profile", "snmp", "sip", "traps_from", "interfaces", "poll", "spans"),
        required=("site", "profile", "snmp"),
    )
    address, access = _snmp(fields["snmp"])
    given: Fields = {}
    if _text(fields, "sip"):
        given["sip"] = _address(fields["sip"], SIP_PORT)
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


def _snmp(tree: Tree) -> tuple[Address, Community | User]:
    fields = tree.fields(
        ("address", "community", "user", "auth", "privacy", "auth_protocol", "privacy_protocol"),
        required=("address",),
    )
    address = _address(fields["address"], SNMP_PORT)
    if "community" in fields:
        for name in fields:
            if name not in ("address", "community"):
                raise fields[name].wrong("has no place beside a community (v2c); write either")
        return address, Community(reference(fields["community"]))
    for name in ("user", "auth", "privacy"):
        if name not in fields:
            raise tree.wrong("is missing; SNMP wants community, or user, auth and privacy", name)
    user = fields["user"].text()
    if not USER_NAME.fullmatch(user):
        raise fields["user"].wrong("a user is 1 to 32 printable characters without blanks")
    protocols = {
        name: fields[name].one_of(known, "protocol")
        for name, known in (
            ("auth_protocol", AUTH_PROTOCOLS),
            ("privacy_protocol", PRIVACY_PROTOCOLS),
        )
        if name in fields
    }
    return address, User(user, reference(fields["auth"]), reference(fields["privacy"]), **protocols)


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


def _text(fields: Mapping[str, Tree], name: str) -> str:
    return fields[name].text() if name in fields else ""


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


def _address(tree: Tree, default_port: int) -> Address:
    host, colon, port = tree.text().partition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536
    if not HOST.fullmatch(host) or (colon and not is_port):
        raise tree.wrong(f"{tree.text()!r} is no address; write IP or IP:PORT")
    return host, int(port) if colon else default_port


def inventory_as_file(inventory: Inventory, *, whole: bool = False) -> Fields:
    """The sections, with every field that is not as it is when left out; `whole`: all."""
    if inventory == NONE and not whole:
        return {}
    written: dict[str, dict[str, tuple[Fields, Fields]]] = {
        "sites": {
            name: (_site_fields(site), _site_fields(Site()))
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


def _site_fields(site: Site) -> Fields:
    return {
        "name": site.name,
        "traps": _shown(site.traps) if site.traps else "",
        "preferred": list(site.preferred),
        "alarms": {
            name: {
                "severity": kind.severity,
                "soak": in_words(kind.soak_ms),
                "hold": in_words(kind.hold_ms),
            }
            for name, kind in site.kinds.items()
        },
    }


def _device_fields(device: Device, whole: bool) -> Fields:
    access = asdict(device.access)
    if isinstance(device.access, User) and not whole:
        known = User("", "", "")
        access = {
            name: value
            for name, value in access.items()
            if name in ("user", "auth", "privacy") or value != getattr(known, name)
        }
    return {
        "site": device.site,
        "profile": device.profile,
        "snmp": {"address": _shown(device.address), **access},
        "sip": _shown(device.sip) if device.sip else "",
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


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
