"""Virtual gateways call a real cluster: what they count is what its CDRs say."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, own_address, running, until
from tests.gateway_mgmt.virtual import free_host

pytestmark = pytest.mark.real

AGENTS = 6
CALLS = 8
"""Two of each span; every fourth dials a number that nobody has."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Cluster, str]]:
    host = own_address()
    agents = {
        str(1_001 + n): {"phone": f"sip:{1_001 + n}@{host}:{7_001 + n}", "queues": ["support"]}
        for n in range(AGENTS)
    }
    centre = {
        "numbers": {"4001": {"queue": "support"}},
        "queues": {"support": {"offer_timeout": "20s"}},
        "agents": agents,
        "shards": {"main": {"sip": f"{host}:5060"}},
    }
    with running(tmp_path, json.dumps(centre), nodes=1) as made:
        yield made, host


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_los_drops_its_calls_and_the_figures_are_those_of_the_cdrs(
    cluster: tuple[Cluster, str],
) -> None:
    made, host = cluster
    gateways = free_host((1_161, 5_060))
    phones = subprocess.Popen(
        [sys.executable, "-m", "loadtest.io", "--agents", f"1001-{1000 + AGENTS}@{host}:7001+",
         "--talk", "600", "--ring", "50-100ms", "--hangup", "agent", "--stdin"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    simulator = subprocess.Popen(
        [sys.executable, "-m", "loadtest.io.gateway_command", "--count", "2", "--spans", "2",
         "--address", gateways, "--calls", str(CALLS), "--calls-per-minute", "600",
         "--hold", "600", "--to", f"{host}:5060", *("--number", "4001") * 3, "--number", "4999",
         "--json", "--stdin"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert simulator.stdin is not None
        until("they talk", lambda: made.shard()["talking"] == AGENTS)
        simulator.stdin.write("span 1/1 LOS\n")
        simulator.stdin.flush()
        # The first call and the fifth are on span 1/1.
        dropped = until("the calls of that span ended", lambda: ended_calls(made, 2))
        assert {cdr["caller"] for cdr in dropped} == {"c0", "c4"}
        assert made.shard()["talking"] == AGENTS - 2
        simulator.send_signal(signal.SIGINT)  # as Ctrl-C does
        said, _ = simulator.communicate(timeout=60)
        assert simulator.returncode == 0
        figures = json.loads(said.splitlines()[-1])["calls"]
        cdrs = until("every CDR", lambda: ended_calls(made, AGENTS))
        # Who dials what nobody has gets his answer, and no CDR.
        assert figures["placed"] - figures["refused"]["404"] == len(made.ask("cdr")) == len(cdrs)
        assert (figures["placed"], figures["answered"]) == (CALLS, AGENTS)
        assert figures["refused"] == {"404": CALLS - AGENTS}
        assert figures["dropped"] == {"span 1/1 los": 2}
        assert figures["hung_up"] == AGENTS - 2
        assert (figures["left"], figures["given_up"], figures["no_slot"]) == (0, 0, 0)
        assert {cdr["by"] for cdr in cdrs} == {"caller"}
        assert made.ask("status")["ledger"]["unaccounted"] == 0
    finally:
        ended(simulator)
        ended(phones)


def ended_calls(made: Cluster, count: int) -> list[dict[str, Any]]:
    found = [cdr for cdr in made.ask("cdr") if cdr["outcome"] == "answered"]
    return found if len(found) == count else []
