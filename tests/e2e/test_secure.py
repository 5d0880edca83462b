"""A cluster whose links show certificates, as its users run it: started, killed, ordered about."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from node.directory import Directory
from tests.cluster.papers import Papers
from tests.e2e.cluster import KEEPLINE, Cluster, own_address, running, until
from tests.e2e.raw_phone import RawPhone
from tests.node.running import free_udp_port, keepline, write_centre

pytestmark = pytest.mark.real

NAMES = ("n1", "n2", "n3")


def centre_at(host: str) -> str:
    return f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
agents: {{"1001": {{phone: "sip:1001@{host}:9", queues: [support]}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `keepline cert init` makes."""
    folder = tmp_path_factory.mktemp("secure") / "certs"
    words = ("--node", ",".join(NAMES), "--operator", "ann", "--reader", "noc", "--days", "10")
    made = keepline("cert", "init", "--dir", folder, *words)
    assert made.returncode == 0, made.stderr
    return folder


def run(cluster: Cluster, who: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return cluster.run(*words, "--tls", str(who))


@pytest.fixture
def secret(certs: Path) -> list[str]:
    """Lines of every private key there is; none of them may be anywhere else."""
    lines = [
        line
        for key in certs.rglob("*.key")
        for line in key.read_text().splitlines()
        if not line.startswith("-")
    ]
    assert len(lines) >= 3 * 6
    return lines


def test_a_call_outlives_its_node_and_each_role_gets_what_it_is_for(
    tmp_path: Path, certs: Path, secret: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = own_address()
    reader, operator = certs / "noc", certs / "ann"
    monkeypatch.setenv("KEEPLINE_TLS", str(reader))
    with (
        running(tmp_path, centre_at(host), options=("--tls", str(certs))) as cluster,
        RawPhone(host, (host, 5060)) as phone,
    ):
        assert phone.call("4001").status == 200
        until("the call waits", lambda: cluster.shard()["waiting"] == 1)
        epoch = cluster.shard()["epoch"]
        name, pid = cluster.active()
        cluster.kill(pid)

        assert phone.answer_to(phone.request("OPTIONS", "4001"), 10).status == 200
        until("another node leads", lambda: cluster.shard()["epoch"] == epoch + 1)
        assert cluster.shard()["waiting"] == 1
        assert cluster.shard()["active"] != name
        until("it is a standby again", lambda: len(cluster.shard()["in_sync"]) == len(NAMES), 30)
        # They last ten days only.
        alarms = cluster.ask("status")["alarms"]
        assert {str(certs / name / "tls.crt") for name in NAMES} == {
            alarm.partition(" expires on ")[0] for alarm in alarms
        }

        refused = run(cluster, reader, "drain", "n1")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "keepline: reader noc may not ask for Drain here\n"
        refused = run(cluster, reader, "agent", "1001", "ready")
        assert refused.stderr == "keepline: reader noc may not ask for SetAgent here\n"
        assert run(cluster, operator, "agent", "1001", "ready").returncode == 0
        assert run(cluster, operator, "switchover", "main").returncode == 0
        leader = cluster.active()[0]
        drained = run(cluster, operator, "drain", leader, "--json")
        assert json.loads(drained.stdout)["moved"]["main"] in {*NAMES} - {leader}
        assert cluster.shard()["waiting"] == 1

        strangers_are_told_in_one_line(cluster, tmp_path)
        no_secret_is_anywhere(cluster, secret)


def strangers_are_told_in_one_line(cluster: Cluster, folder: Path) -> None:
    stranger = Papers(folder / "stranger")
    stranger.give("eve", "operator")
    for words in (("status",), ("agent", "1001", "ready")):
        done = run(cluster, folder / "stranger/eve", *words)
        assert done.returncode == 1, done.stdout
        assert done.stderr == "keepline: node n1: its certificate is of another CA\n"
    stranger.give("old", "reader", since=timedelta(days=3), lasts=timedelta(days=2))
    done = run(cluster, folder / "stranger/old", "status")
    assert done.returncode == 2
    assert done.stderr.startswith(f"keepline: {folder}/stranger/old/tls.crt: expired on ")
    assert done.stderr.count("\n") == 1
    address = Directory(cluster.data).known_nodes()[0]["api"]
    plain = subprocess.run(
        [*KEEPLINE, "status", "--connect", address],
        env={}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert plain.returncode == 1
    assert plain.stderr == (
        f"keepline: {address}: "
        "it lets nobody in without a certificate that it believes (--tls DIR)\n"
    )


def no_secret_is_anywhere(cluster: Cluster, secret: list[str]) -> None:
    for path in (cluster.log, *cluster.data.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert b"PRIVATE KEY" not in content, path
            assert not [line for line in secret if line.encode() in content], path
    for errors in (cluster.data / "logs").glob("n*.err"):
        assert errors.read_text() == "", errors


def refused(*words: str | Path) -> str:
    done = keepline(*words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("keepline: ")


def test_up_tells_what_is_wrong_with_a_certificate_before_it_starts_anything(
    tmp_path: Path,
) -> None:
    papers = Papers(tmp_path / "certs")
    centre = write_centre(tmp_path, free_udp_port())

    def up(nodes: int = 3) -> str:
        words = ("-c", centre, "--data", tmp_path / "data", "--nodes", str(nodes))
        return refused("up", *words, "--tls", papers.folder)

    papers.give("n1")
    n2 = papers.folder / "n2"
    assert up() == f"{n2}/ca.crt: cannot be read: No such file or directory"
    papers.give("n3", to=n2)
    assert up() == f"{n2}/tls.crt: is the certificate of node n3, not of node n2"
    papers.give("n2", since=timedelta(days=2), lasts=timedelta(days=1))
    assert up(2).startswith(f"{n2}/tls.crt: expired on ")
    papers.give("n2")
    (n2 / "tls.key").chmod(0o644)
    assert up(2) == f"{n2}/tls.key: others may use this key; chmod 600 {n2}/tls.key"
    assert Directory(tmp_path / "data").known_nodes() == []


@pytest.mark.parametrize("address", ["0.0.0.0:20001", "192.0.2.1:20001"])
def test_a_node_without_certificates_does_not_listen_to_other_machines(
    tmp_path: Path, address: str
) -> None:
    centre = write_centre(tmp_path, free_udp_port())
    words = ("--name", "n1", "--data", tmp_path / "data", "--centre", centre)

    assert refused("node", *words, "--listen", address) == (
        f"node n1: {address} can be reached from other machines; "
        "without certificates only 127.0.0.0/8 is used (keepline cert init, --tls)"
    )
    assert not (tmp_path / "data/store.db").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--tls", "x", "--tls-ca", "y"], "--tls alone, or --tls-ca, --tls-cert and --tls-key"),
        (["--tls-ca", "y"], "--tls alone, or --tls-ca, --tls-cert and --tls-key together"),
        (["--tls", "/nowhere"], "/nowhere/ca.crt: cannot be read: No such file or directory"),
        (
            ["--tls-ca", "/nowhere/a", "--tls-cert", "b", "--tls-key", "c"],
            "/nowhere/a: cannot be read: No such file or directory",
        ),
    ],
)
def test_a_node_started_with_wrong_files_is_told_in_one_line(
    tmp_path: Path, options: list[str], line: str
) -> None:
    centre = write_centre(tmp_path, free_udp_port())
    words = ("--name", "n1", "--data", tmp_path / "data", "--centre", centre)

    assert line in refused("node", *words, "--listen", "0.0.0.0:20001", *options)
