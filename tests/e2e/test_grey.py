"""A node whose SIP side is dead while its links live gives its shards to another one."""

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import own_address, running, until
from tests.e2e.raw_phone import RawPhone

pytestmark = pytest.mark.real

COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("deaf.py")))


def test_a_deaf_node_hands_its_shard_over_and_the_calls_go_on(tmp_path: Path) -> None:
    host = own_address()
    centre = f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    with (
        running(tmp_path, centre, nodes=2, command=COMMAND) as cluster,
        RawPhone(host, (host, 5060)) as phone,
    ):
        assert phone.call("4001").status == 200
        name, pid = cluster.active()
        epoch = cluster.shard()["epoch"]
        cluster.kill(pid, signal.SIGUSR1)

        until("another node leads", lambda: cluster.shard()["epoch"] > epoch)
        assert phone.answer_to(phone.request("OPTIONS", "4001"), 10).status == 200
        shard = cluster.shard()
        assert (shard["epoch"], shard["waiting"]) == (epoch + 1, 1)
        assert shard["active"] != name
        facts = until(
            "the fact", lambda: [e for e in cluster.ask("events") if e["kind"] == "sip_dead"]
        )
        assert [fact["node"] for fact in facts] == [name]
        assert cluster.ask("failovers")[-1]["why"] == "hand-over"
        assert cluster.ask("trace", phone.call_id)["steps"]
        assert {node["pid"] for node in cluster.ask("status")["nodes"]} >= {pid}  # it lives
