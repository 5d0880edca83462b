"""A real Prometheus scrapes a real cluster: every metric, every panel, and a lost line is told."""

import os
import re
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from node.metrics import HELP
from tests.e2e.cluster import Cluster, own_address, running, until
from tests.e2e.prometheus import PROGRAM, Prometheus, scraping
from tests.e2e.test_gateways import KEY, SHARD, centre
from tests.gateway_mgmt.receivers import Http
from tests.gateway_mgmt.virtual import beside, plant
from tests.node.test_prometheus_files import PAGE, RULES, expressions, promtool

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM is None and not os.environ.get("CI"),
        reason="Prometheus is not here: apt-get install prometheus",
    ),
]

AT_ONCE = re.sub(r"^( +for:) .*$", r"\1 0s", RULES.read_text(), flags=re.MULTILINE)
"""The rules as they are, but that nothing waits."""
NOT_IN_THE_RUN = {"keepline_refused_total"}
"""It needs certificates, and somebody who asks for what he may not."""


def scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def targets(cluster: Cluster) -> dict[str, str]:
    """Where each node is scraped."""
    return {one["name"]: one["metrics"] for one in cluster.ask("status")["nodes"]}


def documented() -> dict[str, set[str]]:
    """The labels of each metric, as the page has them."""
    rows = re.findall(r"^\| `(keepline_\w+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def as_grafana_asks(expression: str) -> str:
    """With all clusters and sites chosen."""
    asked = expression.replace("$__rate_interval", "10s")
    return re.sub(r"\$(cluster|site)\b", ".*", asked)


def test_prometheus_has_every_metric_once_every_panel_shows_it_and_a_lost_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    monkeypatch.setenv("T_KEY", KEY)
    host = own_address()
    with (
        Http() as noc,
        beside(2, traps=(host, 1_162)) as gateways,
        running(tmp_path, centre(host, gateways, noc), nodes=2) as cluster,
    ):
        nodes = targets(cluster)
        with scraping(tmp_path, list(nodes.values()), AT_ONCE) as prometheus:
            until("the trunk is whole", lambda: prometheus.value("keepline_trunk_channels") == 90,
                  30)  # fmt: skip
            until("both answer", lambda: prometheus.value("sum(keepline_gateway_up)") == 2)
            until("nothing is told", lambda: not prometheus.firing())
            gateways.fault("span 1/1 LOS")
            told = until("it is told", lambda: prometheus.firing().get("KeeplineTrunkPartial"), 30)
            assert [(one["site"], one["trunk"]) for one in told] == [("delhi", "bsnl-pri")]
            assert prometheus.value("keepline_trunk_channels") == 60
            lost = 'keepline_gateway_alarm_raised{path="tg1/1", condition="los"}'
            until("the alarm is there", lambda: prometheus.value(lost) == 1)

            every_metric_is_documented_and_well_named(nodes)
            every_panel_has_data(prometheus)
            one_node_reports_over_a_switchover(cluster, prometheus, nodes)


def every_metric_is_documented_and_well_named(nodes: dict[str, str]) -> None:
    labels: dict[str, set[str]] = {}
    for address in nodes.values():
        text = scraped(address)
        done = promtool("check", "metrics", text=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        for name, braces in re.findall(r"^(keepline_\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
            labels[name] = set(re.findall(r'(\w+)="', braces))
    assert labels.keys() == HELP.keys() - NOT_IN_THE_RUN
    assert labels == {name: documented()[name] for name in labels}


def every_panel_has_data(prometheus: Prometheus) -> None:
    for expression in map(as_grafana_asks, expressions()):
        until(expression, partial(prometheus.query, expression))


def one_node_reports_over_a_switchover(
    cluster: Cluster, prometheus: Prometheus, nodes: dict[str, str]
) -> None:
    def reporting() -> list[str]:
        found = prometheus.query("count by (instance) (keepline_gateway_up)")
        return [one["metric"]["instance"] for one in found]

    before, _ = cluster.active(SHARD)
    assert reporting() == [nodes[before]]
    (heir,) = nodes.keys() - {before}
    done = cluster.run("switchover", SHARD, "--to", heir)
    assert done.returncode == 0, done.stderr
    until("the other one reports", lambda: reporting() == [nodes[heir]], 30)
    assert "keepline_gateway_up{" not in scraped(nodes[before])
    until(
        "it is told of once", lambda: len(prometheus.firing().get("KeeplineTrunkPartial", ())) == 1
    )
