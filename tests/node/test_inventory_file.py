"""Gateways in the centre's file: each mistake is one line, and none shows a secret."""

from pathlib import Path

import pytest

from gateway_mgmt.inventory import NONE, Community, Device, Span, User
from node.centre_file import as_yaml
from node.config import ConfigError, load_centre, read_centre
from node.difference import changes, line
from node.yaml_tree import read_tree

ROOT = Path(__file__).parents[2]
GATEWAYS = ROOT / "examples/gateways.yaml"

HEAD = "sites: {a: {}}\ntrunks: {t: {}}\n"
SNMP = 'snmp: {address: 10.0.0.1, community: "env:C"}'


def device(fields: str) -> str:
    return HEAD + "devices:\n  tg1:\n" + "".join(f"    {one}\n" for one in fields.split("\n"))


def spans(written: str) -> str:
    return device(f"site: a\nprofile: generic\n{SNMP}\nspans: {written}")


def snmp(written: str) -> str:
    return device(f"site: a\nprofile: generic\nsnmp: {written}")


def test_every_field_is_read() -> None:
    inventory = load_centre(GATEWAYS).inventory

    assert inventory.devices["tg1"] == Device(
        site="delhi",
        profile="generic",
        address=("127.1.0.1", 1161),
        access=User("noc", "env:TG_AUTH", "env:TG_PRIVACY"),
        sip=("127.1.0.1", 5060),
        spans={
            1: Span(1, trunk="bsnl-pri", errored_seconds_max=60),
            2: Span(2, trunk="bsnl-pri", slots=tuple(range(1, 16))),
        },
    )
    assert inventory.devices["tg2"].access == Community("env:TG_COMMUNITY")
    assert inventory.devices["tg2"].poll_ms == 30_000
    assert inventory.spans_of("bsnl-pri") == [("tg1", 1), ("tg1", 2)]
    assert inventory.trunks["bsnl-pri"].numbers == ("4001",)


def test_a_centre_without_gateways_stays_as_it_is() -> None:
    centre = load_centre(ROOT / "examples/hello.yaml")
    assert centre.inventory == NONE
    assert "devices" not in as_yaml(centre)


def test_a_change_of_a_line_is_one_line() -> None:
    old = load_centre(GATEWAYS)
    text = GATEWAYS.read_text().replace("poll: 30s", "poll: 5s").replace(', slots: "1-15"', "")
    text = text.replace("  tg2:", "  tg3:")
    new = read_centre(read_tree(text.encode(), GATEWAYS))
    assert [line(change) for change in changes(old, new)] == [
        "~ device tg1: spans {1: {trunk: bsnl-pri, errored_seconds_max: 60}, "
        "2: {slots: 1-15, trunk: bsnl-pri}} → "
        "{1: {trunk: bsnl-pri, errored_seconds_max: 60}, 2: {trunk: bsnl-pri}}",
        "- device tg2",
        "+ device tg3 at 127.1.0.2:1161",
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            device(f"site: a\nprofile: audiocode\n{SNMP}"),
            "centre.yaml:6: devices.tg1.profile: 'audiocode' is no profile; known: audiocodes, "
            "cisco, dinstar, generic, net-snmp, newrock, patton",
        ),
        (
            device(f"site: b\nprofile: generic\n{SNMP}"),
            "centre.yaml:5: devices.tg1.site: 'b' is no site; known: a",
        ),
        (
            device("site: a\nprofile: generic"),
            "centre.yaml:5: devices.tg1.snmp: is missing",
        ),
        (
            snmp("{address: gw.example.net, community: env:C}"),
            "centre.yaml:7: devices.tg1.snmp.address: 'gw.example.net' is no address; "
            "write IP or IP:PORT",
        ),
        (
            snmp("{address: 10.0.0.1, community: s3cret}"),
            "centre.yaml:7: devices.tg1.snmp.community: must be env:NAME or file:/PATH, where the "
            "secret is, never the secret",
        ),
        (
            snmp("{address: 10.0.0.1, user: noc, auth: [s3cret], privacy: env:P}"),
            "centre.yaml:7: devices.tg1.snmp.auth: must be env:NAME or file:/PATH, where the "
            "secret is, never the secret",
        ),
        (
            snmp("{address: 10.0.0.1, user: noc, auth: env:A}"),
            "centre.yaml:7: devices.tg1.snmp.privacy: is missing; SNMP wants community, or user, "
            "auth and privacy",
        ),
        (
            snmp("{address: 10.0.0.1, user: noc, auth: env:A, privacy: env:P, auth_protocol: md5}"),
            "centre.yaml:7: devices.tg1.snmp.auth_protocol: 'md5' is no protocol; "
            "known: sha, sha256",
        ),
        (
            snmp("{address: 10.0.0.1, community: env:C, user: noc}"),
            "centre.yaml:7: devices.tg1.snmp.user: has no place beside a community (v2c); "
            "write either",
        ),
        (
            spans("{0: {}}"),
            "centre.yaml:8: devices.tg1.spans.0: a span is a number from 1 to 64",
        ),
        (
            spans('{1: {slots: "0-15"}}'),
            "centre.yaml:8: devices.tg1.spans.1.slots: must be time slots from 1 to 31, "
            "like 1-15,17-31",
        ),
        (
            spans("{1: {d_channel: 1}}"),
            "centre.yaml:8: devices.tg1.spans.1.d_channel: is 1, which carries calls",
        ),
        (
            spans("{1: {index: 2}, 2: {}}"),
            "centre.yaml:8: devices.tg1.spans.2.index: has the line index of span 1",
        ),
        (
            spans("{1: {trunk: none}}"),
            "centre.yaml:8: devices.tg1.spans.1.trunk: 'none' is no trunk; known: t",
        ),
        (
            "trunks: {t: {numbers: [4001]}}",
            "centre.yaml:1: trunks.t.numbers[0]: '4001' is no number; known: none",
        ),
        (
            "carriers: {c: {contakt: x}}",
            "centre.yaml:1: carriers.c.contakt: unknown; known here: name, contact",
        ),
        (
            device(f"site: a\nprofile: generic\n{SNMP}")
            + f"  tg2:\n    site: a\n    profile: generic\n    {SNMP}\n",
            "centre.yaml:11: devices.tg2.snmp.address: is the address of device tg1 already",
        ),
    ],
)
def test_a_mistake_is_one_line(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_centre(read_tree(text.encode(), Path("centre.yaml")))
    assert str(error.value) == wrong
    assert "s3cret" not in str(error.value)
