"""The UDP port on real sockets of this machine."""

import asyncio
import errno
import socket

import pytest

from sip.io.udp import BATCH, Port

DEADLINE_S = 10.0


async def fact(is_true: "asyncio.Event") -> None:
    """Wait for a fact, with a deadline."""
    await asyncio.wait_for(is_true.wait(), DEADLINE_S)


async def test_what_is_sent_arrives_in_order_with_its_source() -> None:
    one, two = Port.bind(("127.0.0.1", 0)), Port.bind(("127.0.0.1", 0))
    got: list[tuple[bytes, tuple[str, int]]] = []
    whole = asyncio.Event()
    count = 3 * BATCH + 1

    def receive(datagram: bytes, source: tuple[str, int]) -> None:
        got.append((datagram, source))
        if len(got) == count:
            whole.set()

    for n in range(count):  # bound, and not yet reading: the kernel keeps them
        one.send(b"%d" % n, two.address)
    assert got == []
    two.start(asyncio.get_running_loop(), receive)
    await fact(whole)

    assert got == [(b"%d" % n, one.address) for n in range(count)]
    assert (one.sent, one.dropped, two.received) == (count, 0, count)
    assert two.rcvbuf > 0
    one.close()
    two.close()


async def test_an_address_has_one_owner_until_it_is_closed() -> None:
    owner = Port.bind(("127.0.0.1", 0))
    with pytest.raises(OSError, match="in use") as refused:
        Port.bind(owner.address)
    assert refused.value.errno == errno.EADDRINUSE
    owner.start(asyncio.get_running_loop(), lambda datagram, source: None)
    owner.close()
    owner.close()
    heir = Port.bind(owner.address)

    assert heir.address == owner.address
    heir.close()


async def test_what_cannot_be_sent_is_dropped_and_counted() -> None:
    port = Port.bind(("127.0.0.1", 0))
    port.send(b"x" * 70_000, ("127.0.0.1", 9))
    port.send(b"x", ("127.0.0.1", 0))
    port.close()
    port.send(b"x", ("127.0.0.1", 9))

    assert (port.sent, port.dropped) == (0, 3)


async def test_a_port_closed_by_what_it_received_reads_no_more() -> None:
    port = Port.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    got: list[bytes] = []
    closed = asyncio.Event()

    def receive(datagram: bytes, _: tuple[str, int]) -> None:
        got.append(datagram)
        port.close()
        closed.set()

    for n in range(3):
        sender.sendto(b"%d" % n, port.address)
    port.start(asyncio.get_running_loop(), receive)
    await fact(closed)
    sender.close()

    assert got == [b"0"]


async def test_what_comes_while_a_port_pauses_is_read_when_it_goes_on() -> None:
    one, two = Port.bind(("127.0.0.1", 0)), Port.bind(("127.0.0.1", 0))
    got: list[bytes] = []
    came = asyncio.Event()

    def receive(datagram: bytes, _: tuple[str, int]) -> None:
        got.append(datagram)
        two.pause()
        came.set()

    for n in range(3):
        one.send(b"%d" % n, two.address)
    two.start(asyncio.get_running_loop(), receive)
    for n in range(3):
        await fact(came)
        came.clear()
        assert got == [b"%d" % m for m in range(n + 1)]
        two.send(b"x", one.address)
        two.resume()

    assert two.sent == 3
    one.close()
    two.close()


async def test_a_datagram_of_64_kib_goes_through() -> None:
    one, two = Port.bind(("127.0.0.1", 0)), Port.bind(("127.0.0.1", 0))
    got: list[bytes] = []
    arrived = asyncio.Event()

    def receive(datagram: bytes, _: tuple[str, int]) -> None:
        got.append(datagram)
        arrived.set()

    two.start(asyncio.get_running_loop(), receive)
    one.send(b"x" * 65_507, two.address)
    await fact(arrived)

    assert len(got[0]) == 65_507
    one.close()
    two.close()
