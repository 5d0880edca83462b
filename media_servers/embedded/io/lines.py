"""UDP ports for RTP: opened on demand from a range, read without copying."""

import errno
import mmap
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from media_servers.verbs import Refused

Address = tuple[str, int]

_NEXT = struct.Struct("=I")

EXPEDITED = 0xB8
"""Type of service: expedited forwarding, as voice is marked (RFC 4594 §4.1)."""


class UdpLine:
    """One open port."""

    __slots__ = ("_on_close", "_socket", "fd", "port", "recv", "send")

    def __init__(self, sock: socket.socket, on_close: Callable[["UdpLine"], None]) -> None:
        self._socket = sock
        self._on_close = on_close
        self.fd = sock.fileno()
        self.port: int = sock.getsockname()[1]
        self.send: Callable[[bytearray | memoryview, Address], object] = sock.sendto
        self.recv = sock.recvfrom_into

    def close(self) -> None:
        """Give the port back; no matter how often."""
        if self._socket.fileno() >= 0:
            self._on_close(self)
            self._socket.close()


class Lines:
    """Even ports from `first` to `last` at `address`, handed out in turn.

    In turn, and not the lowest free one, so that a phone which has not heard yet that its call is
    over does not talk into the next one. Whose turn it is stands in the file `place` and outlives
    a kill: a restarted server must not give away what its sessions, applied again, will ask for.
    """

    def __init__(self, address: str, first: int, last: int, place: Path) -> None:
        self._address = address
        self._first = first + first % 2
        self._count = (last - self._first) // 2 + 1
        with place.open("a+b") as file:
            if file.seek(0, os.SEEK_END) < _NEXT.size:
                file.truncate(0)
                file.write(os.urandom(_NEXT.size))
                file.flush()
            self._next = mmap.mmap(file.fileno(), _NEXT.size)

    def open(self, port: int, on_close: Callable[[UdpLine], None]) -> UdpLine:
        """Open `port`, or the next free one if 0. Raises Refused no_ports."""
        if port:
            sock = self._bound(port)
            if sock is None:
                raise Refused("no_ports", f"port {port} is in use")
            return UdpLine(sock, on_close)
        for _ in range(self._count):
            (turn,) = _NEXT.unpack_from(self._next)
            _NEXT.pack_into(self._next, 0, (turn + 1) & 0xFFFFFFFF)
            candidate = self._first + 2 * (turn % self._count)
            sock = self._bound(candidate)
            if sock is not None:
                return UdpLine(sock, on_close)
        raise Refused("no_ports", f"none of {self._count} is free")

    def _bound(self, port: int) -> socket.socket | None:
        """A socket on that port; None if somebody has it. Raises Refused if there can be none."""
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise Refused("no_ports", os.strerror(error.errno or 0)) from error
        try:
            sock.bind((self._address, port))
        except (OSError, OverflowError) as error:
            sock.close()
            if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise Refused("no_ports", str(error)) from error
        with suppress(OSError):  # only a marking
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
        return sock
