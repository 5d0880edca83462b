"""A message that makes a step raise: it ends one call and no node."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, own_address, running, until
from tests.e2e.raw_phone import RawPhone

pytestmark = pytest.mark.real

POISON = ("X-Poison", "yes")


@pytest.fixture
def host() -> str:
    return own_address()


@pytest.fixture
def cluster(tmp_path: Path, host: str) -> Iterator[Cluster]:
    """Three nodes with a planted fault."""
    centre = f"""
numbers: {{"4001": {{queue: support}}}}
queues: {{support: {{}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    script = str(Path(__file__).with_name("poisoned.py"))
    with running(tmp_path, centre, command=[sys.executable, "-P", script]) as made:
        yield made


def pids(cluster: Cluster) -> dict[str, int]:
    return {node["name"]: node["pid"] for node in cluster.ask("status")["nodes"] if node["alive"]}


def test_it_ends_one_call_and_kills_no_node_on_none_of_the_three(
    cluster: Cluster, host: str
) -> None:
    shard = (host, 5060)
    nodes, epoch = pids(cluster), cluster.shard()["epoch"]
    assert len(nodes) == 3
    with (
        RawPhone(host, shard) as patient,
        RawPhone(host, shard) as poisoner,
        RawPhone(host, shard) as stranger,
        RawPhone(host, shard) as second,
    ):
        assert patient.call("4001").status == 200
        assert poisoner.call("4001").status == 200
        until("both wait", lambda: cluster.shard()["waiting"] == 2)

        assert poisoner.answer_to(poisoner.request("INFO", "4001", POISON)).status == 500
        if not any(msg.method == "BYE" for msg in poisoner.got):
            poisoner.await_message(lambda msg: msg.method == "BYE")
        assert stranger.call("4001", POISON).status == 500

        until("one waits", lambda: cluster.shard()["waiting"] == 1)
        assert pids(cluster) == nodes
        assert cluster.shard()["epoch"] == epoch

        # A standby has none of it in its copy.
        name, pid = cluster.active()
        cluster.kill(pid)
        until("another node is active", lambda: cluster.shard()["active"] not in ("", name))
        assert cluster.shard()["waiting"] == 1
        assert second.call("4001").status == 200
        assert second.answer_to(second.request("BYE", "4001", POISON)).status in (200, 500)
        until("one waits again", lambda: cluster.shard()["waiting"] == 1)

        assert patient.answer_to(patient.request("BYE", "4001")).status == 200
        records = until("all records", lambda: len(found := cluster.ask("cdr")) == 3 and found)
    assert sorted(record["cause"] for record in records) == ["bug", "bug", "bye"]
    ledger = cluster.ask("status")["ledger"]
    assert (ledger["received"], ledger["refused"], ledger["unaccounted"]) == (4, 1, 0)
    logs = "".join(path.read_text() for path in (cluster.data / "logs").glob("n*.log"))
    assert logs.count('"event": "step undone"') == 3
    still = {name: pid for name, pid in pids(cluster).items() if nodes[name] == pid}
    assert len(still) == 2  # all but the one that was killed
