"""The socket that traps come to. Its buffer is large: a line that fails takes a thousand along."""

import asyncio
import socket
import struct
from collections.abc import Callable

from gateway_mgmt.inventory import Address
from gateway_mgmt.traps import Desk, Hint

RCVBUF_BYTES = 16 << 20
BATCH = 64
"""Datagrams read in one turn, before polls have theirs."""
MAX_DATAGRAM = 65_535
_SO_RCVBUFFORCE = 33  # Linux; needs CAP_NET_ADMIN
_SO_MEMINFO = 55  # Linux: nine numbers, the last is how many datagrams were dropped


class TrapPort:
    """Bound from the start, read after `start`. `rcvbuf`: the buffer's size that was obtained, in
    bytes as the kernel counts them."""

    def __init__(self, address: Address) -> None:
        """Raises OSError."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RCVBUF_BYTES)
            except OSError:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
            self._sock.bind(address)
        except OSError:
            self._sock.close()
            raise
        self.wanted = address
        self.address: Address = self._sock.getsockname()
        self.rcvbuf = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.received = 0

    @property
    def dropped(self) -> int:
        """Datagrams that found the buffer full."""
        told = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
        return int(struct.unpack("9I", told)[8]) if len(told) == 36 else 0

    def start(self, desk: Desk, hint: Callable[[Hint], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.add_reader(self._sock.fileno(), self._readable, desk, hint)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    def _readable(self, desk: Desk, hint: Callable[[Hint], None]) -> None:
        now_s = asyncio.get_running_loop().time()
        for _ in range(BATCH):
            try:
                datagram, source = self._sock.recvfrom(MAX_DATAGRAM)
            except OSError:
                return
            self.received += 1
            found = desk.receive(datagram, source[0], now_s)
            if found.reply:
                try:
                    self._sock.sendto(found.reply, source)
                except OSError:
                    continue  # not acknowledged: it is sent again
            if found.device:
                hint(found)
