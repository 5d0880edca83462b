"""Gateways on a real cluster: seen, told, taken out of routing, over the death of their node."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, own_address, running, until
from tests.gateway_mgmt.receivers import Http
from tests.gateway_mgmt.virtual import SECRETS, Beside, beside, plant

pytestmark = pytest.mark.real

SHARD = "gateways@delhi"
KEY = "planted-webhook-key"


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    monkeypatch.setenv("T_KEY", KEY)


@pytest.fixture
def noc() -> Iterator[Http]:
    with Http() as receiver:
        yield receiver


def centre(host: str, gateways: Beside, noc: Http, *, more: str = "") -> str:
    """Two gateways, one asked by v2c and one by v3, with a trunk over both."""
    tg1, tg2 = gateways.address(1), gateways.address(2)
    return f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
agents: {{"1001": {{phone: "sip:1001@{host}:7001", queues: [support], state: not_ready}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
sites: {{delhi: {{name: New Delhi, traps: "{host}:1162"}}}}
carriers: {{bsnl: {{}}}}
trunks: {{bsnl-pri: {{carrier: bsnl, numbers: ["4001"], queues: [support]}}}}
receivers:
  noc: {{webhook: {{url: "{noc.url}/hook", key: "env:T_KEY"}}}}
  desk: {{alertmanager: {{urls: ["{noc.url}"]}}}}
devices:
  tg1:
    site: delhi
    profile: generic
    poll: 1s
    snmp: {{address: "{tg1}", community: "env:T_COMMUNITY"}}
    spans: {{1: {{trunk: bsnl-pri}}, 2: {{trunk: bsnl-pri}}}}
  tg2:
    site: delhi
    profile: generic
    poll: 1s
    snmp: {{address: "{tg2}", user: noc, auth: "env:T_AUTH", privacy: "env:T_PRIVACY"}}
    spans: {{1: {{trunk: bsnl-pri}}}}
{more}"""


def gateway(cluster: Cluster, name: str) -> dict[str, Any]:
    found = {row["gateway"]: row for row in cluster.ask("gateway", "list")}
    return dict(found.get(name, {"state": "not there"}))


def trunk(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.ask("gateway", "trunks")[0])


def shards(cluster: Cluster) -> list[str]:
    return [one["name"] for one in cluster.ask("status")["shards"]]


def routing(cluster: Cluster) -> list[tuple[str, int]]:
    """What the shard of calls was told of the trunk, in order: state and channels."""
    events = [one for one in cluster.ask("events") if one["kind"] == "trunk"]
    return [(one["state"], one["channels"]) for one in events]


def switches(cluster: Cluster) -> list[str]:
    """The nodes that the shard of alarms was taken over from."""
    rows = cluster.ask("failovers")
    return [one["from"] for one in rows if one["shard"] == SHARD and one["from"]]


def raised(cluster: Cluster) -> list[str]:
    return [one["name"] for one in cluster.ask("gateway", "alarms")["alarms"] if one["is_raised"]]


def alerts(noc: Http) -> list[str]:
    """The paths of what Alertmanager was told last to stand."""
    bodies = [json.loads(body) for path, _, body in list(noc.got) if path.endswith("/alerts")]
    return [one["labels"]["path"] for one in bodies[-1]] if bodies else []


def messages(noc: Http) -> list[tuple[str, str, str]]:
    """(id, what, path) of each that came."""
    bodies = [json.loads(body) for path, _, body in list(noc.got) if path == "/hook"]
    return [(one["id"], one["what"], one["path"]) for one in bodies]


def test_a_line_that_fails_leaves_routing_is_told_once_and_comes_back_over_a_takeover(
    tmp_path: Path, noc: Http
) -> None:
    host = own_address()
    with (
        beside(2, traps=(host, 1_162)) as gateways,
        running(tmp_path, centre(host, gateways, noc)) as cluster,
    ):
        until("both answer", lambda: gateway(cluster, "tg1")["state"] == "up"
              and gateway(cluster, "tg2")["state"] == "up", 30)  # fmt: skip
        until("the calls know of the trunk", lambda: routing(cluster) == [("in", 90)])

        gateways.fault("span 1/1 LOS")
        until("the calls know", lambda: routing(cluster)[-1] == ("partial", 60))
        until("the alarm is raised", lambda: raised(cluster) == ["los@tg1/1"])
        until("the NOC knows", lambda: [one[1:] for one in messages(noc)] == [("raised", "tg1/1")])
        (body,) = [json.loads(body) for path, _, body in noc.got if path == "/hook"]
        assert body["callers"] == 0
        (alarm,) = cluster.ask("gateway", "alarms")["alarms"]
        acked = cluster.run("gateway", "ack", alarm["id"], "--note", "a digger")
        assert acked.returncode == 0, acked.stderr

        before, pid = cluster.active(SHARD)
        (polling,) = polls(pid)
        cluster.kill(polling, signal.SIGKILL)
        until("another process polls", lambda: polls(pid) not in ([], [polling]))
        until("it polls", lambda: gateway(cluster, "tg1")["state"] == "up", 30)
        assert raised(cluster) == ["los@tg1/1"]
        (polling,) = polls(pid)
        said = len(noc.got)
        cluster.kill(pid, signal.SIGKILL)
        until("nobody polls for the dead", lambda: not Path(f"/proc/{polling}").exists())
        until("another node decides", lambda: cluster.shard(SHARD)["active"] not in ("", before))
        until("the switch is told", lambda: switches(cluster)[-1:] == [before], 30)
        (still,) = cluster.ask("gateway", "alarms")["alarms"]
        assert (still["id"], still["note"], still["is_raised"]) == (alarm["id"], "a digger", True)
        assert still["acked_by"]
        until("it polls", lambda: gateway(cluster, "tg1")["state"] == "up", 30)
        until("it says what stands", lambda: len(noc.got) > said and alerts(noc) == ["tg1/1"])

        gateways.fault("span 2/1 AIS")  # by a trap: it is polled each second anyway
        until("the calls know", lambda: routing(cluster)[-1] == ("partial", 30))
        gateways.fault("span 1/1 clear")
        gateways.fault("span 2/1 clear")
        until("all is well", lambda: trunk(cluster)["state"] == "in", 40)
        until("the calls know", lambda: routing(cluster)[-1] == ("in", 90))
        until("nothing is raised", lambda: raised(cluster) == [], 30)
        until("and told", lambda: ("cleared", "tg1/1") in [one[1:] for one in messages(noc)], 30)
        told = dict.fromkeys(messages(noc))
        assert [one[1:] for one in told].count(("raised", "tg1/1")) == 1
        assert [one[1:] for one in told].count(("cleared", "tg1/1")) == 1

        assert secrets_in(tmp_path, (*SECRETS, KEY)) == []


def polls(pid: int) -> list[int]:
    """The processes of a node that poll."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for thread in threads for child in thread.read_text().split()]
    return [
        int(child)
        for child in children
        if b"gateway_mgmt.io" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def secrets_in(folder: Path, secrets: tuple[str, ...]) -> list[Path]:
    """Files of logs, records and the configuration that hold one."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_socket():
            content = path.read_bytes()
            found += [path for secret in secrets if secret.encode() in content]
    return found


def test_gateways_come_and_go_with_the_centre_and_a_site_ends_when_all_is_told(
    tmp_path: Path, noc: Http
) -> None:
    host = own_address()
    with (
        beside(3) as gateways,
        running(tmp_path, centre(host, gateways, noc), nodes=2) as cluster,
    ):
        until("it answers", lambda: gateway(cluster, "tg1")["state"] == "up", 30)
        gateways.fault("span 3/1 LOS")
        tg3 = gateways.address(3)
        cluster.centre.write_text(
            centre(host, gateways, noc, more=f"""
  tg3:
    site: delhi
    profile: generic
    poll: 1s
    snmp: {{address: "{tg3}", community: "env:T_WRONG"}}
    spans: {{1: {{}}}}
""")
        )  # fmt: skip
        assert cluster.run("apply", "-f", str(cluster.centre)).returncode == 0
        until("the new one is asked", lambda: "snmp" in gateway(cluster, "tg3")["trouble"]
              or "no answer" in gateway(cluster, "tg3")["trouble"], 30)  # fmt: skip
        text = cluster.centre.read_text().replace("env:T_WRONG", "env:T_COMMUNITY")
        cluster.centre.write_text(text)
        assert cluster.run("apply", "-f", str(cluster.centre)).returncode == 0
        until("its fault is raised", lambda: raised(cluster) == ["los@tg3/1"], 30)
        until("and told", lambda: messages(noc)[-1][1:] == ("raised", "tg3/1"))

        noc.answers += [503] * 2
        told = "receivers:" + text.partition("receivers:")[2].partition("devices:")[0]
        cluster.centre.write_text(text.partition("sites:")[0] + told)
        with cluster.beside("gateway", "watch", "--json") as said:
            until("a watcher sees it", lambda: "los@tg3/1" in said.read_text())
            assert cluster.run("apply", "-f", str(cluster.centre)).returncode == 0
            until("it is told that nobody watches", lambda: messages(noc)[-1][1] == "cleared", 30)
            until("the shard is closed", lambda: shards(cluster) == ["main"], 30)
            changes = [json.loads(line) for line in said.read_text().splitlines()]
            assert [one["gateways"] for one in changes if one["kind"] == "devices"][-1] == []
        assert cluster.ask("gateway", "list") == []

        cluster.centre.write_text(text)
        assert cluster.run("apply", "-f", str(cluster.centre)).returncode == 0
        until("it is watched again", lambda: raised(cluster) == ["los@tg3/1"], 30)
        assert cluster.stop() == 0
        time.sleep(0.5)
        assert not cluster.processes()
