"""SIPp's built-in caller and agent, neither of which sends RTP, through the death of the active."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, own_address, running, until

pytestmark = pytest.mark.real


@pytest.fixture
def sipp() -> str:
    found = shutil.which("sipp")
    assert found, "sipp is missing: apt-get install sip-tester"
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Cluster, str]]:
    host = own_address()
    centre = f"""
numbers: {{"4001": {{queue: support}}}}
queues: {{support: {{strategy: longest_idle, offer_timeout: 20s, wrap_up: 1s}}}}
agents: {{"1001": {{name: Desk 1, phone: "sip:1001@{host}:7001", queues: [support], state: ready}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    with running(tmp_path, centre) as made:
        yield made, host


def test_after_kill_9_both_byes_get_200_and_one_cdr_exists(
    cluster: tuple[Cluster, str], sipp: str, tmp_path: Path
) -> None:
    made, host = cluster
    epoch = made.shard()["epoch"]
    common = ["-nostdin", "-trace_err", "-timeout", "40", "-timeout_error"]
    uas = subprocess.Popen(
        [sipp, "-sn", "uas", "-i", host, "-p", "7001", "-m", "1", *common],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    uac = subprocess.Popen(
        [sipp, "-sn", "uac", "-s", "4001", f"{host}:5060", "-i", host, "-p", "7100", "-m", "1",
         "-d", "8000", *common],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until("they talk", lambda: made.shard()["talking"] == 1)
        name, pid = made.active()
        made.kill(pid)
        until("another node is active", lambda: made.shard()["active"] != name)
        assert uac.wait(30) == 0
        assert uas.wait(30) == 0
        (cdr,) = until("the CDR", lambda: made.ask("cdr"))
        assert cdr["outcome"] == "answered"
        switch = made.ask("failovers")[-1]
        assert (switch["from"], switch["calls"]) == (name, 1)
        assert 0 <= switch["asked_ms"] <= switch["won_ms"] <= switch["moved_ms"]
        assert switch["moved_ms"] <= switch["serving_ms"]
        assert made.shard()["epoch"] > epoch
        assert made.ask("status")["ledger"]["unaccounted"] == 0
    finally:
        for process in (uas, uac):
            if process.poll() is None:
                process.kill()
                process.wait()
