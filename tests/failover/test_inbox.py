"""A bound socket that passes from one process to another, with what is unread in it."""

import asyncio
import multiprocessing
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from failover.io import inbox
from failover.io.inbox import SocketInbox, pass_socket
from tests.cluster.hosts import until


def name() -> str:
    return f"keepline-test-{secrets.token_hex(4)}"


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A bound UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
async def own() -> AsyncIterator[SocketInbox]:
    one = SocketInbox(name())
    one.open(asyncio.get_running_loop())
    yield one
    one.close()


def _pass(address: tuple[str, int], to: str) -> None:
    """What another process does: bind, receive, read nothing, pass it on and end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            for n in range(100):
                phone.sendto(b"%d" % n, address)
        assert pass_socket(bound, "main", to)


async def test_what_was_unread_is_read_by_the_process_that_has_the_socket_now(
    own: SocketInbox, port: socket.socket
) -> None:
    address = port.getsockname()
    port.close()
    other = multiprocessing.get_context("spawn").Process(target=_pass, args=(address, own.name))
    other.start()
    await asyncio.to_thread(other.join, 20)
    assert other.exitcode == 0
    passed = own.take("main", address)
    assert passed is not None
    with passed:
        assert [int(passed.recv(100)) for _ in range(100)] == list(range(100))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            with pytest.raises(OSError, match="in use"):
                second.bind(address)
            second.sendto(b"more", address)
        assert passed.recv(100) == b"more"
    assert own.take("main", address) is None


async def test_a_socket_of_another_address_or_kind_is_not_taken(
    own: SocketInbox, port: socket.socket
) -> None:
    host, number = port.getsockname()
    assert pass_socket(port, "main", own.name)
    assert own.take("main", (host, number + 1)) is None
    assert own.take("main", (host, number)) is None
    with socket.socket() as stream:
        stream.bind((host, 0))
        assert pass_socket(stream, "main", own.name)
        assert own.take("main", stream.getsockname()) is None


async def test_a_message_without_exactly_one_socket_changes_nothing(
    own: SocketInbox, port: socket.socket
) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out,
        socket.socket() as one,
        open(os.devnull, "rb") as file,  # noqa: ASYNC230, PTH123
    ):
        to = f"\0{own.name}"
        out.sendto(b"main", to)
        for descriptors in ([port.fileno(), one.fileno()], [file.fileno()]):
            rights = socket.SCM_RIGHTS
            data = b"".join(inbox._DESCRIPTOR.pack(number) for number in descriptors)
            out.sendmsg([b"main"], [(socket.SOL_SOCKET, rights, data)], 0, to)
        before = len(os.listdir("/proc/self/fd"))
        assert own.take("main", port.getsockname()) is None
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_socket_that_nobody_takes_keeps_nobody_from_its_address(
    own: SocketInbox, port: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "KEPT_MS", 20)
    address = port.getsockname()
    assert pass_socket(port, "main", own.name)
    port.close()

    def is_free() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            try:
                other.bind(address)
            except OSError:
                return False
        return True

    assert not is_free()
    await until(is_free)


async def test_who_passes_to_a_process_that_is_gone_is_told(port: socket.socket) -> None:
    assert not pass_socket(port, "main", name())
