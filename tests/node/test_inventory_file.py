"""Gateways in the centre's file: each mistake is one line, and none shows a secret."""

from pathlib import Path

import pytest

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.inventory import NONE, Device, Site, Span
from gateway_mgmt.plan import plan
from gateway_mgmt.receivers import Alertmanager, Inform, Mail, Syslog, Webhook
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
    assert plan(inventory, "delhi", ()).trunks["bsnl-pri"].spans == {"tg1/1": 30, "tg1/2": 15}
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


def test_receivers_and_sites_are_read() -> None:
    text = """
sites:
  a: {traps: "10.0.0.5", preferred: [n1, n2], alarms: {los: {severity: minor, soak: 0s}}}
profiles:
  mine: {title: Mine, scalars: {serial: 1.3.6.1.2.1.47.1}}
devices:
  tg1: {site: a, profile: mine, snmp: {address: 10.0.0.1, community: "env:C"}}
receivers:
  desk: {alertmanager: {urls: ["http://10.0.0.7:9093"], token: "env:T", labels: {team: noc}}}
  hook: {webhook: {url: "https://noc.example/hook", key: "env:K"}}
  logs: {syslog: {address: logs.example, transport: tls}}
  nms: {inform: {address: 10.0.0.11, community: "env:N", enterprise: 1.3.6.1.4.1.9.9}}
  people: {mail: {server: mail.example, from: a@b, to: [c@d], user: u, password: "env:P"}}
"""
    inventory = read_centre(read_tree(text.encode(), Path("centre.yaml"))).inventory
    assert inventory.sites["a"] == Site(
        "", ("10.0.0.5", 162), ("n1", "n2"), {"los": Kind("minor", 0, 10_000, takes_out=True)}
    )
    assert inventory.profiles["mine"].scalars == {"serial": "1.3.6.1.2.1.47.1"}
    assert inventory.devices["tg1"].profile == "mine"
    assert inventory.receivers == {
        "desk": Alertmanager(("http://10.0.0.7:9093",), "env:T", {"team": "noc"}),
        "hook": Webhook("https://noc.example/hook", "env:K"),
        "logs": Syslog(("logs.example", 6514), "tls"),
        "nms": Inform(("10.0.0.11", 162), Community("env:N"), "1.3.6.1.4.1.9.9"),
        "people": Mail(("mail.example", 587), "a@b", ("c@d",), "starttls", "u", "env:P"),
    }


def receiver(written: str) -> str:
    return f"receivers:\n  noc: {written}\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            'sites: {a: {traps: "0.0.0.0:162"}, b: {traps: "0.0.0.0:162"}}',
            "centre.yaml:1: sites.b.traps: is in the way of site a, which has 0.0.0.0:162",
        ),
        (
            'sites:\n  a: {traps: "10.0.0.5"}\n  b: {traps: "0.0.0.0:162"}',
            "centre.yaml:3: sites.b.traps: is in the way of site a, which has 10.0.0.5:162",
        ),
        (
            'shards: {main: {sip: "127.0.0.1:5060"}}\nsites: {a: {traps: "127.0.0.1:5060"}}',
            "centre.yaml:2: sites.a.traps: is in the way of shard main, which has 127.0.0.1:5060",
        ),
        (
            "sites: {a: {preferred: [n1, n1]}}",
            "centre.yaml:1: sites.a.preferred[1]: 'n1' is no name of a node, or stands here twice",
        ),
        (
            "sites: {a: {alarms: {los: {soak: 2h}}}}",
            "centre.yaml:1: sites.a.alarms.los.soak: must be from 0ms to 1h, is 2h",
        ),
        (
            "sites: {a: {alarms: {losss: {}}}}",
            "centre.yaml:1: sites.a.alarms.losss: no such condition; known: ais, d_channel_down",
        ),
        (
            "sites: {a: {alarms: {los: {severity: cleared}}}}",
            "centre.yaml:1: sites.a.alarms.los.severity: 'cleared' is no severity; known: ",
        ),
        (
            "sites: {a: {}, b: {}}\ntrunks: {t: {}}\ndevices:\n"
            f"  tg1: {{site: a, profile: generic, {SNMP}, spans: {{1: {{trunk: t}}}}}}\n"
            f"  tg2: {{site: b, profile: generic, {SNMP.replace('0.1', '0.2')}, "
            "spans: {1: {trunk: t}}}\n",
            "centre.yaml:5: devices.tg2.spans.1.trunk: t is of site a, and tg2 is of b: "
            "each site needs a trunk of its own",
        ),
        (
            'profiles: {mine: {title: x, scalars: {serial: "1.3.6"}}}',
            "centre.yaml:1: profiles.mine.scalars.serial: '1.3.6' is no numeric OID like",
        ),
        (
            "profiles:\n  mine:\n    title: x\n    spans:\n      led:\n        oid: 1.3.6.1.4.1\n"
            "        conditions: {1: loss}\n",
            "centre.yaml:7: profiles.mine.spans.led.conditions.1: 'loss' is no condition; known: ",
        ),
        (
            "profiles: {mine: {titel: x}}",
            "centre.yaml:1: profiles.mine.titel: no field has this name",
        ),
        (
            "profiles:\n  mine:\n    title: x\n    scalars:\n      a: 1.3.6.1.2\n"
            "      a: 1.3.6.1.3\n",
            "centre.yaml:6: profiles.mine.scalars.a: stands here twice",
        ),
        (
            "profiles:\n  mine: &a {title: x, scalars: *a}",
            "centre.yaml:2: profiles.mine: has a value that cannot be read",
        ),
        (
            "profiles: {mine: {title: x, alarms: {los: {soak: soon}}}}",
            "centre.yaml:1: profiles.mine.alarms.los.soak: 'soon' is no time up to 1h, like 500ms",
        ),
        (
            receiver("{}"),
            "centre.yaml:2: receivers.noc: must be one of alertmanager, webhook, syslog, mail, ",
        ),
        (
            receiver('{webhook: {url: "https://me:s3cret@noc.example", key: "env:K"}}'),
            "centre.yaml:2: receivers.noc.webhook.url: must hold no user and no password",
        ),
        (
            receiver('{webhook: {url: "https://noc.example", key: s3cret}}'),
            "centre.yaml:2: receivers.noc.webhook.key: must be env:NAME or file:/PATH, where",
        ),
        (
            receiver("{webhook: {url: noc.example, key: env:K}}"),
            "centre.yaml:2: receivers.noc.webhook.url: is no URL, like https://host:port/path",
        ),
        # What a sender could not even try to send would count as refused by the receiver.
        (
            receiver('{webhook: {url: "https://noc.example/ü-s3cret", key: "env:K"}}'),
            "centre.yaml:2: receivers.noc.webhook.url: is no URL, like https://host:port/path",
        ),
        (
            receiver("{inform: {address: 10.0.0.1, community: env:C, enterprise: 1.2.3}}"),
            "centre.yaml:2: receivers.noc.inform.enterprise: '1.2.3' is no OID below 1.3.6.1",
        ),
        (
            receiver("{inform: {address: 10.0.0.1}}"),
            "centre.yaml:2: receivers.noc.inform.user: is missing; SNMP wants community, or user",
        ),
        (
            receiver('{webhook: {url: "https://noc..example", key: "env:K"}}'),
            "centre.yaml:2: receivers.noc.webhook.url: is no URL, like https://host:port/path",
        ),
        (
            receiver("{syslog: {address: logs..example}}"),
            "centre.yaml:2: receivers.noc.syslog.address: 'logs..example' is no address; write",
        ),
        (
            receiver("{syslog: {address: 10.0.0.300}}"),
            "centre.yaml:2: receivers.noc.syslog.address: '10.0.0.300' is no address; write",
        ),
        (
            receiver("{syslog: {address: logs, transport: dtls}}"),
            "centre.yaml:2: receivers.noc.syslog.transport: 'dtls' is no transport; known: udp",
        ),
        (
            receiver("{mail: {server: m, from: ä@b, to: [c@d]}}"),
            "centre.yaml:2: receivers.noc.mail.from: 'ä@b' is no e-mail address",
        ),
        (
            receiver("{mail: {server: m, from: a@b, to: [c@d, c@d]}}"),
            "centre.yaml:2: receivers.noc.mail.to[1]: stands here twice",
        ),
        (
            receiver("{mail: {server: m, from: a@b, to: [c@d], user: u, password: s3cret}}"),
            "centre.yaml:2: receivers.noc.mail.password: must be env:NAME or file:/PATH, where",
        ),
        (
            receiver('{alertmanager: {urls: ["http://a", "http://a"]}}'),
            "centre.yaml:2: receivers.noc.alertmanager.urls[1]: stands here twice",
        ),
        (
            receiver('{alertmanager: {urls: ["http://a"], labels: {severity: page}}}'),
            "centre.yaml:2: receivers.noc.alertmanager.labels.severity: is what the alarm says",
        ),
        (
            receiver("{pager: {}}"),
            "centre.yaml:2: receivers.noc.pager: unknown; known here: alertmanager, webhook,",
        ),
        (
            receiver("{syslog: {address: 10.0.0.1:x}}"),
            "centre.yaml:2: receivers.noc.syslog.address: '10.0.0.1:x' is no address; write HOST",
        ),
        (
            receiver("{mail: {server: m, from: a@b, to: [c@d], user: u}}"),
            "centre.yaml:2: receivers.noc.mail: user and password belong together",
        ),
        (
            receiver(
                "{mail: {server: m, from: a@b, to: [c@d], security: none, user: u, "
                "password: env:P}}"
            ),
            "centre.yaml:2: receivers.noc.mail.security: a login needs starttls or tls",
        ),
        (
            receiver("{mail: {server: m, from: a@b, to: [c]}}"),
            "centre.yaml:2: receivers.noc.mail.to[0]: 'c' is no e-mail address",
        ),
        (
            receiver("{alertmanager: {urls: []}}"),
            "centre.yaml:2: receivers.noc.alertmanager.urls: names no URL",
        ),
    ],
)
def test_a_wrong_site_or_receiver_is_told_in_one_line(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_centre(read_tree(text.encode(), Path("centre.yaml")))
    assert str(error.value).startswith(wrong)
    assert "s3cret" not in str(error.value)
    assert "\n" not in str(error.value)


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
