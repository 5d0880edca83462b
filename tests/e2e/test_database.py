"""The call path never waits for the database: it may be away, and nothing is missing later."""

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster import own_address, running, until

pytestmark = pytest.mark.real


def test_calls_go_on_while_the_database_is_locked_and_their_cdrs_come_later(
    tmp_path: Path,
) -> None:
    sipp = shutil.which("sipp")
    assert sipp, "sipp is missing: apt-get install sip-tester"
    host = own_address()
    centre = f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{wrap_up: 0s}}}}
agents: {{"1001": {{name: Desk 1, phone: "sip:1001@{host}:7001", queues: [support]}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    with running(tmp_path, centre, nodes=2) as cluster:
        answers = subprocess.Popen(
            [sipp, "-sn", "uas", "-i", host, "-p", "7001", "-nostdin"],
            cwd=tmp_path, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        database = sqlite3.connect(cluster.data / "events.db", isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            done = subprocess.run(
                [sipp, "-sn", "uac", "-s", "4001", f"{host}:5060", "-i", host, "-p", "7100",
                 "-m", "5", "-r", "2", "-d", "200", "-nostdin", "-timeout", "30"],
                cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=40, check=False,
            )  # fmt: skip
            assert done.returncode == 0
            assert cluster.ask("cdr") == []
            _, pid = cluster.active()
            cluster.kill(pid)
            until("the facts are another node's", lambda: cluster.shard()["epoch"] == 2)
            database.execute("ROLLBACK")
            cdrs = until("the CDRs", lambda: cdrs if len(cdrs := cluster.ask("cdr")) == 5 else None)
            assert {cdr["outcome"] for cdr in cdrs} == {"answered"}
            assert cluster.ask("status")["ledger"]["unaccounted"] == 0
        finally:
            database.close()
            answers.kill()
            answers.wait()
