"""Links that show certificates: who gets in, who is told why not, files that change meanwhile."""

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest

from cluster.identity import Identity, NotSecure
from cluster.io import security as timing
from cluster.io.security import Open, Secure, Security
from cluster.messages import Released
from keepline.v1 import replication_pb2 as pb
from keepline.v1 import replication_pb2_grpc as rpc
from loadtest.sim.toy import Add
from tests.cluster.ends import End, are_up, ends
from tests.cluster.hosts import cluster, until
from tests.cluster.papers import Papers


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at often."""
    monkeypatch.setattr(timing, "LOOK_MS", 50)


async def test_nodes_with_certificates_of_one_ca_talk(papers: Papers) -> None:
    async with ends(a=papers.secure("a"), b=papers.secure("b")) as (a, b):
        await until(lambda: are_up(a, b))
        a.links.send("b", "main", Released(1, 7))

        await until(lambda: b.got == [("a", Released(1, 7))])
        assert a.links.alarms == b.links.alarms == []


async def greet(security: Security, address: str, name: str) -> grpc.aio.AioRpcError:
    """What a node gets that opens a stream under this name and is not let in."""
    async with security.channel(address, []) as channel:
        call = rpc.ReplicationStub(channel).Link()
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(pb.Frame(greeting=pb.Greeting(node=name, incarnation="x")))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(call, 5)
        return refused.value


async def test_who_greets_as_another_node_is_turned_away_and_told_of_once(papers: Papers) -> None:
    secure_b = papers.secure("b")
    async with ends(a=papers.secure("a")) as (a,):
        for _ in range(3):
            error = await greet(secure_b, a.peers["a"], "c")
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert error.details() == "node b greets as node 'c'"

        assert a.noted("refused") == [{"who": "node b", "why": "greets as node 'c'"}]
        assert a.links.refusals.counts == {"node": 3}


@pytest.mark.parametrize("role", ["operator", "reader"])
async def test_only_nodes_have_links(papers: Papers, role: str) -> None:
    async with ends(a=papers.secure("a")) as (a,):
        error = await greet(papers.secure("ann", role), a.peers["a"], "ann")

        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error.details() == f"{role} ann may not ask for Link here"
        assert a.noted("refused") == [{"who": f"{role} ann", "why": "may not ask for Link"}]


async def test_nobody_gets_in_without_a_certificate(papers: Papers, tmp_path: Path) -> None:
    ours, strange = papers.secure("x"), Papers(tmp_path / "elsewhere").secure("b")
    credentials = grpc.ssl_channel_credentials(
        ours._contents.ca, strange._contents.key, strange._contents.cert
    )
    options = (("grpc.default_authority", "node.keepline"),)
    async with ends(a=papers.secure("a")) as (a,):
        address = a.peers["a"]
        for channel in (
            grpc.aio.insecure_channel(address),
            grpc.aio.secure_channel(address, credentials, options=options),
        ):
            async with channel:
                call = rpc.ReplicationStub(channel).Link()
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await asyncio.wait_for(call, 5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("quickly")
async def test_a_stranger_stays_outside_is_told_of_once_and_let_in_once_he_is_none(
    papers: Papers, tmp_path: Path
) -> None:
    stranger = Papers(tmp_path / "elsewhere")
    files = stranger.give("b")
    async with ends(a=papers.secure("a"), b=Secure(files, node="b")) as (a, b):
        await until(lambda: bool(a.links.alarms and b.links.alarms))
        assert a.links.alarms == ["a has no link to b: its certificate is of another CA"]
        assert b.links.alarms == ["b has no link to a: its certificate is of another CA"]
        dialled = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > dialled + 1.5)
        assert len(a.noted("link refused")) == len(b.noted("link refused")) == 1

        papers.give("b", to=tmp_path / "elsewhere/b")

        await until(lambda: are_up(a, b))
        assert a.links.alarms == b.links.alarms == []
        assert len(b.noted("certificate renewed")) == 1


@pytest.mark.usefixtures("quickly")
async def test_a_node_that_nobody_believes_costs_the_others_nothing(
    papers: Papers, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    securities = {name: papers.secure(name) for name in "ab"}
    securities["c"] = Secure(Papers(folder).give("c"), node="c")
    (tmp_path / "data").mkdir()
    async with cluster(tmp_path / "data", securities=securities) as three:
        first = await three.served("main", copies=2)
        for n in range(50):
            assert first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        assert f"{first.name} has no link to c: its certificate is of another CA" in (
            first.host.link_alarms
        )

        papers.give("c", to=folder / "c")

        await three.served("main", copies=3, within_s=10)
        await three.kill("a")
        await three.served("main", copies=2)
        await three.kill("b")
        last = await three.served("main", copies=1)
        assert last.name == "c"
        assert last.host.shard("main").records["k"].value == 50


@pytest.mark.usefixtures("quickly")
async def test_a_certificate_that_expires_keeps_its_links_and_gets_no_new_ones(
    papers: Papers,
) -> None:
    lasts = timedelta(seconds=3)
    async with ends(a=papers.secure("a"), b=papers.secure("b", lasts=lasts)) as (a, b):
        await until(lambda: are_up(a, b))
        assert "b/tls.crt expires on " in b.links.alarms[0]
        await until(lambda: "b/tls.crt expired on " in b.links.alarms[0])
        assert are_up(a, b)

        await b.again()

        await until(lambda: bool(a.links.alarms))
        assert a.links.alarms == ["a has no link to b: its certificate has expired"]
        assert not are_up(a, b)
        papers.give("b")
        await until(lambda: are_up(a, b))
        assert a.links.alarms == b.links.alarms == []


def exchange(file: Path, content: bytes) -> bytes:
    """Write the file; what it had before."""
    before = file.read_bytes()
    file.write_bytes(content)
    return before


def shown_by(address: str, asks: Secure) -> bytes:
    """The certificate that a node shows to who connects now."""
    ca, cert, key = asks._files
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(str(cert), str(key))
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")

    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="node.keepline") as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown
    return shown


def der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())


@pytest.mark.usefixtures("quickly")
async def test_a_renewed_certificate_is_shown_without_a_restart(papers: Papers) -> None:
    asks = papers.secure("ann", "reader")
    own = papers.folder / "a/tls.crt"
    async with ends(a=papers.secure("a"), b=papers.secure("b")) as (a, b):
        await until(lambda: are_up(a, b))
        old = await asyncio.to_thread(shown_by, a.peers["a"], asks)
        assert old == der(own)

        papers.give("a", lasts=timedelta(days=90))

        await until(lambda: bool(a.noted("certificate renewed")))
        assert await asyncio.to_thread(shown_by, a.peers["a"], asks) == der(own) != old
        until_at = datetime.fromisoformat(a.noted("certificate renewed")[0]["until"])
        assert 89 <= (until_at - datetime.now(UTC)).days <= 90
        assert a.down == b.down == []  # what stood goes on
        await b.again()
        await until(lambda: are_up(a, b))


@pytest.mark.usefixtures("quickly")
async def test_files_that_do_not_fit_are_an_alarm_and_the_old_ones_stay_in_use(
    papers: Papers,
) -> None:
    asks = papers.secure("ann", "reader")
    secure = papers.secure("a")
    async with ends(a=secure) as (a,):
        before = await asyncio.to_thread(shown_by, a.peers["a"], asks)
        key = Path(secure._files.key)
        papers.give("a")
        new_key = exchange(key, secure._contents.key)

        await until(lambda: bool(a.links.alarms))
        assert a.links.alarms == [f"{key}: is not the key of {key.with_name('tls.crt')}"]
        assert await asyncio.to_thread(shown_by, a.peers["a"], asks) == before
        exchange(key, new_key)
        await until(lambda: a.links.alarms == [])
        assert await asyncio.to_thread(shown_by, a.peers["a"], asks) != before
        assert len(a.noted("certificate alarm")) == 1


@pytest.mark.usefixtures("quickly")
async def test_a_certificate_of_another_node_is_not_taken_up(papers: Papers) -> None:
    async with ends(a=Secure(papers.give("a"), node="a")) as (a,):
        papers.give("b", to=papers.folder / "a")

        await until(lambda: bool(a.links.alarms))
        assert a.links.alarms[0].endswith("is the certificate of node b, not of node a")
        assert isinstance(a.security, Secure)
        assert a.security.own.holder == Identity("a", "node")


async def test_a_node_that_runs_without_certificates_is_told_of(papers: Papers) -> None:
    async with ends(a=papers.secure("a"), b=Open()) as (a, b):
        await until(lambda: bool(a.links.alarms))
        assert a.links.alarms == ["a has no link to b: it runs without certificates"]
        assert not a.links.is_up("b")
        assert not b.links.is_up("a")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
async def test_without_certificates_a_node_goes_nowhere_beyond_this_machine(host: str) -> None:
    with pytest.raises(NotSecure, match=f"node a: {host}:2000 can be reached from other machines"):
        End("a", {"a": f"{host}:2000"}, Open())
    with pytest.raises(NotSecure, match=f"node b: {host}:2000 can be reached from other machines"):
        End("a", {"a": "127.0.0.1:2000", "b": f"{host}:2000"}, Open())
    async with ends(a=Open()) as (a,):
        a.links.connect("b", f"{host}:2000")  # as the store has it
        assert f"node b: {host}:2000 can be reached" in a.links.alarms[0]
        a.links.disconnect("b")
        assert a.links.alarms == []
