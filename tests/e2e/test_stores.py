"""A cluster whose store is an etcd or a ZooKeeper: kept safe, kept apart, and away for a while."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.certificates import Authority
from tests.cluster.stores import EtcdServers, Servers, ZooKeeperServers, served
from tests.e2e.cluster import Cluster, own_address, running, until
from tests.e2e.faults import playing
from tests.e2e.people import FEW
from tests.e2e.raw_phone import RawPhone
from tests.e2e.seen import gap_is_small, nothing_lost

pytestmark = pytest.mark.real

KINDS: dict[str, type[EtcdServers | ZooKeeperServers]] = {
    "etcd": EtcdServers,
    "zookeeper": ZooKeeperServers,
}
PASSWORD = "said to nobody"


def made(kind: str, folder: Path, members: int) -> EtcdServers | ZooKeeperServers:
    (folder / "servers").mkdir()
    return KINDS[kind](folder / "servers", members)


def one_shard(host: str) -> str:
    return f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
agents: {{"1001": {{phone: "sip:1001@{host}:7001", queues: [support], state: not_ready}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.soak] * (kind != "etcd")) for kind in KINDS]
)
async def test_an_active_is_killed_and_nobody_notices(kind: str, tmp_path: Path) -> None:
    with served(made(kind, tmp_path, 3)) as servers:
        async with playing(
            tmp_path, FEW, options=("--store", servers.url("centre/north"))
        ) as scene:
            await scene.come()
            name, pid = await scene.active("north")
            before = {shard["name"]: shard for shard in (await scene.status())["shards"]}
            struck_s = await scene.strike(pid, how=signal.SIGKILL)
            for shard, was in before.items():
                if was["active"] == name:
                    await scene.taken_over(shard, was["epoch"], struck_s)
            await scene.rest()
            await scene.agents_agree("after the fault")
            await scene.finish()
            await scene.whole()
            found = await scene.judged()
        assert not (scene.cluster.data / "store.db").exists()

    nothing_lost(found)
    assert gap_is_small(found.of("fault")), found.line()


@pytest.mark.parametrize("kind", KINDS)
def test_calls_go_on_while_the_store_is_dead_and_it_is_told(kind: str, tmp_path: Path) -> None:
    host = own_address()
    with (
        served(made(kind, tmp_path, 1)) as servers,
        running(
            tmp_path, one_shard(host), nodes=2, options=("--store", servers.url("k"))
        ) as cluster,
    ):
        servers.kill(0)
        until("it is told", lambda: f"{servers.url('k')} does not answer" in alarms(cluster))
        assert cluster.ask("status")["store"] == {"name": servers.url("k"), "answers": False}
        with RawPhone(host, (host, 5060)) as caller:
            assert caller.call("4001").status == 200
            servers.start(0)
            until("it answers", lambda: "does not answer" not in alarms(cluster), 30)
            active, pid = cluster.active()
            cluster.kill(pid)
            until("another is active", lambda: cluster.shard()["active"] not in ("", active), 30)
            caller.send(probe := caller.request("OPTIONS", "4001"))
            assert caller.answer_to(probe).status == 200
        assert cluster.ask("status")["ledger"]["unaccounted"] == 0


def alarms(cluster: Cluster) -> str:
    return "\n".join(cluster.ask("status")["alarms"])


def test_two_clusters_in_one_etcd_do_not_meet(tmp_path: Path) -> None:
    with served(made("etcd", tmp_path, 1)) as servers:
        same = ("--store", servers.url("same"))
        ours, theirs = (
            Cluster(folder(tmp_path, name), one_shard(own_address()), nodes=1, options=same)
            for name in ("ours", "theirs")
        )
        try:
            ours.start()
            theirs.start(wait=False)
            assert theirs.ended() == 2
            (line,) = theirs.log.read_text().splitlines()
            assert line.startswith(f"keepline: {servers.url('same')} holds cluster ")
            assert line.endswith(f"to which {theirs.data} does not belong: use another prefix")

            theirs.options = ("--store", servers.url("other"))
            theirs.start()
            assert theirs.shard()["epoch"] == ours.shard()["epoch"] == 1

            assert ours.stop() == 0
            ours.options = theirs.options  # as if somebody had mixed them up
            ours.start(wait=False)
            assert ours.ended() == 2
            assert f"but {ours.data} belongs to cluster" in ours.log.read_text().splitlines()[-1]
        finally:
            ours.destroy()
            theirs.destroy()


def folder(where: Path, name: str) -> Path:
    (where / name).mkdir()
    return where / name


def test_a_store_that_does_not_answer_at_the_start_is_one_line(tmp_path: Path) -> None:
    store = "etcd://127.0.0.1:9,127.0.0.1:10"
    cluster = Cluster(tmp_path, one_shard(own_address()), options=("--store", store))
    try:
        cluster.start(wait=False)
        assert cluster.ended() == 2
        (line,) = cluster.log.read_text().splitlines()
        assert line == (
            f"keepline: {store}/keepline does not answer: "
            "127.0.0.1:9: connection refused; 127.0.0.1:10: connection refused"
        )
    finally:
        cluster.destroy()


@pytest.fixture(params=KINDS)
def encrypted(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Servers, Authority]]:
    servers = made(request.param, tmp_path, 1)
    authority = Authority(servers.folder, "ours")
    servers.use_tls(authority.cert, *authority.sign("server", servers.host))
    with served(servers):
        yield servers, authority


def test_a_cluster_speaks_tls_with_a_password_that_nobody_sees(
    encrypted: tuple[Servers, Authority], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, authority = encrypted
    cert, key = authority.sign("node", servers.host)
    words = ["--store", servers.url("k"), "--store-ca", authority.cert]
    words += ["--store-cert", cert, "--store-key", key]
    if isinstance(servers, EtcdServers):
        servers.guard("keepline", PASSWORD, "k/")
    words += ["--store-user", "keepline", "--store-password", "env:STORE_PASSWORD"]
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    with running(
        tmp_path, one_shard(own_address()), nodes=2, options=list(map(str, words))
    ) as cluster:
        assert cluster.shard()["epoch"] == 1
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cluster.processes()]
        assert len(lines) >= 3
        assert not any(PASSWORD.encode() in line for line in lines)
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert cluster.log in written
        ours = [path for path in written if servers.folder not in path.parents]
        assert not any(PASSWORD.encode() in path.read_bytes() for path in ours)
