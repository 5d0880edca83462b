"""Passwords and certificates: who may use a store, and what is said to whom that may not."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.store import Changed, ListAnew, Store, StoreAway, StoreRefused, Unknown, Won
from tests.cluster.certificates import Authority
from tests.cluster.hosts import until
from tests.cluster.stores import EtcdServers, Servers, ZooKeeperServers, served

pytestmark = pytest.mark.real

SLOW_S = 5.0
"""What is tested here is who may, not how fast: etcd hashes a password slowly."""
PASSWORD = "said to nobody"


@asynccontextmanager
async def client(servers: Servers, notes: list[str], **options: Any) -> AsyncIterator[Store]:
    def note(what: str, **fields: object) -> None:
        notes.append(f"{what} {fields}")

    words = {"prefix": "keepline", "timeout": SLOW_S, "note": note, **options}
    store = servers.client(**words)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
    assert PASSWORD not in str(notes)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EtcdServers]:
    """An etcd whose user `keepline` may use what lies under `keepline/`, and nothing else."""
    with served(EtcdServers(tmp_path, 1)) as servers:
        servers.guard("keepline", PASSWORD, "keepline/")
        yield servers


async def test_etcd_lets_in_who_knows_the_password_and_tells_the_others_why_not(
    guarded: EtcdServers,
) -> None:
    notes: list[str] = []
    async with client(guarded, notes, user="keepline", password=PASSWORD) as store:
        assert isinstance(await store.cas("k", 0, b"a"), Won)
    for options, why in (
        ({"user": "keepline", "password": "wrong"}, "user keepline: .*authentication failed"),
        ({"user": "nobody", "password": PASSWORD}, "user nobody: .*authentication failed"),
        ({}, "user name is empty"),
        ({"user": "keepline", "password": PASSWORD, "prefix": "other"}, "permission denied"),
    ):
        with pytest.raises(StoreRefused, match=why) as refused:
            async with client(guarded, notes, **options):
                pass
        assert PASSWORD not in str(refused.value)


async def test_a_token_that_etcd_forgot_is_renewed_and_the_call_is_made(
    guarded: EtcdServers,
) -> None:
    notes: list[str] = []
    async with client(guarded, notes, user="keepline", password=PASSWORD) as store:
        won = await store.cas("a/k", 0, b"a")
        assert isinstance(won, Won)
        store.attend("n1", b"here")
        async with aclosing(store.watch("a/")) as watch:
            assert await anext(watch) == ListAnew()
            guarded.kill(0)
            await asyncio.to_thread(guarded.start, 0)  # its tokens were in its memory
            won = await store.cas("a/k", won.rev, b"b")
            assert isinstance(won, Won)
            async with asyncio.timeout(SLOW_S):
                assert await anext(watch) == Changed("a/k", won.rev, b"b")
        assert await store.members() == {"n1": b"here"}


async def test_a_password_that_was_changed_is_told_and_not_in_plain(guarded: EtcdServers) -> None:
    notes: list[str] = []
    async with client(guarded, notes, user="keepline", password=PASSWORD) as store:
        token = guarded.post(0, "auth/authenticate", name="root", password="root")["token"]
        guarded.post(0, "auth/user/changepw", name="keepline", password="new", token=token)
        with pytest.raises(StoreAway, match=r"user keepline: .*authentication failed"):
            await store.read("k")
        assert await store.cas("k", 0, b"") == Unknown()
        (note,) = notes
        assert note.startswith("store away")


async def test_zookeeper_lets_in_who_knows_the_password_and_tells_the_others_why_not(
    tmp_path: Path,
) -> None:
    with served(ZooKeeperServers(tmp_path, 1)) as servers:
        notes: list[str] = []
        async with client(servers, notes, user="keepline", password=PASSWORD) as store:
            assert await store.cas("k", 0, b"a") == Won(1)
            for options in ({"user": "keepline", "password": "wrong"}, {}):
                with pytest.raises(StoreRefused, match="/keepline: not permitted"):
                    async with client(servers, notes, **options):
                        pass
            assert await store.cas("k", 1, b"b") == Won(2)
        async with client(servers, notes, user="keepline", password=PASSWORD) as store:
            assert await store.read("k") == (2, b"b")


@pytest.fixture(params=["etcd", "zookeeper"])
def encrypted(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Servers, Authority, Authority]]:
    """A store that speaks TLS and wants its clients' certificates; its CA, and a stranger's."""
    ours, strange = Authority(tmp_path, "ours"), Authority(tmp_path, "strange")
    kind = EtcdServers if request.param == "etcd" else ZooKeeperServers
    servers = kind(tmp_path, 1)
    servers.use_tls(ours.cert, *ours.sign("server", servers.host))
    with served(servers):
        yield servers, ours, strange


async def is_away(store: Store, why: str) -> None:
    """And says so, once it knows why."""
    end = time.monotonic() + 4 * SLOW_S
    while True:
        with pytest.raises(StoreAway) as away:
            await store.read("k")
        if re.search(why, str(away.value)):
            return
        assert time.monotonic() < end, away.value


def files(ca: Authority, cert_and_key: tuple[Path, Path] | None) -> dict[str, str]:
    names = {"ca_cert": str(ca.cert)}
    if cert_and_key is not None:
        names |= {"cert_cert": str(cert_and_key[0]), "cert_key": str(cert_and_key[1])}
    return names


async def test_only_who_has_a_certificate_of_the_stores_own_ca_comes_in(
    encrypted: tuple[Servers, Authority, Authority],
) -> None:
    servers, ours, strange = encrypted
    mine = ours.sign("mine", servers.host)
    notes: list[str] = []
    async with client(servers, notes, **files(ours, mine)) as store:
        assert isinstance(await store.cas("k", 0, b"a"), Won)
        await until(lambda: store.silent_ms() == 0)
    for names, why in (
        (files(ours, None), "not accept our cert|alert bad certificate"),
        (files(ours, strange.sign("other", servers.host)), "not accept our cert|alert certificate"),
        (files(strange, mine), "not of our CA|certificate verify failed"),
        ({}, "does it want TLS|does not answer"),
    ):
        async with client(servers, notes, timeout=0.6, **names) as store:
            await is_away(store, why)


@pytest.mark.parametrize("kind", [EtcdServers, ZooKeeperServers])
async def test_a_server_that_has_the_certificate_of_another_is_not_believed(
    kind: type[EtcdServers | ZooKeeperServers], tmp_path: Path
) -> None:
    ours = Authority(tmp_path, "ours")
    servers = kind(tmp_path, 1)
    other = ours.sign("other", "127.0.0.9")
    servers.use_tls(ours.cert, *other)
    names = files(ours, ours.sign("mine", servers.host))
    with served(servers):
        async with client(servers, [], timeout=0.6, **names) as store:
            await is_away(store, "for another name|mismatch")


@pytest.mark.parametrize("kind", [EtcdServers, ZooKeeperServers])
async def test_a_certificate_that_cannot_be_read_is_named(
    kind: type[EtcdServers | ZooKeeperServers], tmp_path: Path
) -> None:
    servers = kind(tmp_path, 1)
    with pytest.raises(StoreRefused, match=r"absent\.crt: No such file or directory"):
        async with client(servers, [], ca_cert=str(tmp_path / "absent.crt")):
            pass
