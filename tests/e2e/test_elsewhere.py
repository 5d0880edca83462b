"""Calls that come to one shard and are for a number of another: relayed, redirected or refused.

SIPp is the caller. Its own one sends ACK and BYE to where it sent the INVITE, whatever the Contact
says, so the relay has all of a call to pass on.
"""

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, own_address, running, until

pytestmark = pytest.mark.real

REDIRECTED = Path(__file__).parent / "redirected.xml"
COMMON = ("-nostdin", "-trace_err", "-timeout", "60", "-timeout_error")


@pytest.fixture(scope="module")
def sipp() -> str:
    found = shutil.which("sipp")
    assert found, "sipp is missing: apt-get install sip-tester"
    return found


class Two:
    """A cluster of two shards; the number and the agent are of south."""

    def __init__(self, cluster: Cluster, north: str, south: str, here: str) -> None:
        self.cluster = cluster
        self.north, self.south, self.here = north, south, here

    def ledger(self, shard: str) -> dict[str, int]:
        found: dict[str, int] = self.cluster.shard(shard)["ledger"]
        return found

    def relayed(self) -> dict[str, int]:
        """What the nodes counted of north's calls to other shards: it may move between them."""
        found: dict[str, int] = {}
        for node in self.cluster.ask("status")["nodes"]:
            with urllib.request.urlopen(f"http://{node['metrics']}/metrics", timeout=5) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("keepline_relayed_total{") and 'shard="north"' in line:
                        kind = line.partition('kind="')[2].partition('"')[0]
                        found[kind] = found.get(kind, 0) + round(float(line.rpartition(" ")[2]))
        return found

    def elsewhere(self, how: str) -> None:
        """What north does with calls to south's number, from now on."""
        file = self.cluster.centre.with_name("changed.yaml")
        text = self.cluster.centre.read_text().replace("elsewhere: relay", f"elsewhere: {how}")
        file.write_text(text)
        self.cluster.ask("apply", "-f", str(file))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    network = own_address().rpartition(".")[0]
    north, south, here = f"{network}.1", f"{network}.2", f"{network}.9"
    centre = f"""
shards:
  north: {{sip: "{north}:5060", preferred: [n1, n2, n3], elsewhere: relay}}
  south: {{sip: "{south}:5060", preferred: [n3, n2, n1]}}
numbers: {{"4002": {{queue: support, prompt: ""}}}}
queues: {{support: {{shard: south, wrap_up: 0s}}}}
agents: {{"1001": {{phone: "sip:1001@{here}:7001", queues: [support], state: not_ready}}}}
"""
    with running(tmp_path_factory.mktemp("elsewhere"), centre) as made:
        yield Two(made, north, south, here)


def call(sipp: str, two: Two, folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """SIPp as the caller of 4002 at north's address."""
    return subprocess.Popen(
        [sipp, *words, "-s", "4002", f"{two.north}:5060", "-i", two.here, *COMMON],
        cwd=folder, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_relayed_call_is_answered_talked_and_ended_and_is_the_owners(
    two: Two, sipp: str, tmp_path: Path
) -> None:
    before, others = two.ledger("south"), two.ledger("north")
    two.cluster.ask("agent", "1001", "ready")
    uas = subprocess.Popen(
        [sipp, "-sn", "uas", "-i", two.here, "-p", "7001", "-m", "1", *COMMON],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    uac = call(sipp, two, tmp_path, "-sn", "uac", "-p", "7100", "-m", "1", "-d", "9000")
    try:
        assert uac.wait(30) == 0
        assert uas.wait(30) == 0
    finally:
        end(uas, uac)
    two.cluster.ask("agent", "1001", "not_ready")
    after = until("it has ended", lambda: ended(two, before, 1))
    assert after["answered"] == before["answered"] + 1
    assert two.ledger("north") == others
    (cdr,) = two.cluster.ask("cdr")
    assert (cdr["number"], cdr["outcome"], cdr["agent"]) == ("4002", "answered", "1001")
    # INVITE, ACK and BYE went on; 100, 200 and the BYE's 200 came back.
    until("it was counted", lambda: two.relayed().get("requests", 0) >= 3)
    assert two.relayed()["responses"] >= 3


def test_calls_are_relayed_through_the_death_of_the_node_that_relays(
    two: Two, sipp: str, tmp_path: Path
) -> None:
    before, others = two.ledger("south"), two.ledger("north")
    epoch = two.cluster.shard("south")["epoch"]
    uac = call(
        sipp, two, tmp_path, "-sn", "uac", "-p", "7200", "-m", "60", "-r", "10", "-d", "8000"
    )
    try:
        until("calls are up", lambda: two.cluster.shard("south")["waiting"] >= 10)
        name, pid = two.cluster.active("north")
        assert two.cluster.active("south")[0] != name
        two.cluster.kill(pid)
        assert uac.wait(60) == 0
    finally:
        end(uac)
    after = until("all have ended", lambda: ended(two, before, 60))
    assert after["abandoned"] == before["abandoned"] + 60
    assert after["refused"] == before["refused"]
    assert two.ledger("north") == others
    assert two.cluster.active("north")[0] != name
    assert two.cluster.shard("south")["epoch"] == epoch
    until("n1 is back", lambda: two.cluster.ask("status")["can_lose"] == 2, 30)


def test_a_redirected_call_goes_where_the_302_says(two: Two, sipp: str, tmp_path: Path) -> None:
    before, others = two.ledger("south"), two.ledger("north")
    two.elsewhere("redirect")
    counted = two.relayed().get("redirected", 0)
    uac = call(
        sipp, two, tmp_path, "-sf", str(REDIRECTED), "-p", "7300", "-m", "20", "-r", "20",
        "-d", "500",
    )  # fmt: skip
    try:
        assert uac.wait(60) == 0
    finally:
        end(uac)
    after = until("all have ended", lambda: ended(two, before, 20))
    assert after["abandoned"] == before["abandoned"] + 20
    assert two.ledger("north") == others
    until("it was counted", lambda: two.relayed().get("redirected", 0) >= counted + 20)


def test_where_it_shall_be_refused_the_number_is_unknown(
    two: Two, sipp: str, tmp_path: Path
) -> None:
    before = two.ledger("north")
    two.elsewhere("refuse")
    uac = call(sipp, two, tmp_path, "-sn", "uac", "-p", "7400", "-m", "1")
    try:
        assert uac.wait(30) != 0
    finally:
        end(uac)
    after = until("it was refused", lambda: two.ledger("north"))
    assert after["refused"] == before["refused"] + 1
    assert two.cluster.ask("status")["ledger"]["unaccounted"] == 0


def ended(two: Two, before: dict[str, int], calls: int) -> dict[str, int] | None:
    """The ledger of south once so many more calls have come and ended."""
    now = two.ledger("south")
    done = now["received"] - before["received"] >= calls
    return now if done and not now["waiting"] and not two.cluster.shard("south")["calls"] else None


def end(*processes: "subprocess.Popen[bytes]") -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
