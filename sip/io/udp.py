"""One UDP port: an own socket, read in batches from the event loop.

Binding and reading are separate steps, because a takeover binds at once and reads only when it can
answer. Reading may pause: the kernel keeps what comes, for whoever reads on. A datagram that cannot
be sent is dropped and counted: SIP's retransmissions are what recovers it.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

Address = tuple[str, int]

BATCH = 64
"""Datagrams read in one wake-up, before other work has its turn."""
RCVBUF_BYTES = 8 * 1024 * 1024
"""What the receive buffer is asked to hold: bursts are lost here long before the CPU is busy."""
MAX_DATAGRAM = 65535
_SO_RCVBUFFORCE = 33  # Linux; needs CAP_NET_ADMIN


class Port:
    """A bound UDP port. `rcvbuf` is the size of the receive buffer that was obtained, in bytes as
    the kernel counts them; `received`, `sent` and `dropped` (could not be sent) count datagrams.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receive: Callable[[bytes, Address], None] | None = None
        self._is_reading = False
        self.address: Address = sock.getsockname()[:2]
        self.rcvbuf = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.received = 0
        self.sent = 0
        self.dropped = 0

    @classmethod
    def bind(cls, address: Address) -> "Port":
        """Own `address` from now on; port 0 takes a free one. Never shared: raises OSError when it
        is in use.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RCVBUF_BYTES)
            except OSError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def start(
        self, loop: asyncio.AbstractEventLoop, receive: Callable[[bytes, Address], None]
    ) -> None:
        """Begin to read: `receive(datagram, source)` for each, on `loop`."""
        self._loop = loop
        self._receive = receive
        self.resume()

    @property
    def socket(self) -> socket.socket:
        """The port's own, to be passed to another process."""
        return self._sock

    def pause(self) -> None:
        """Leave in the kernel what comes from now on. Sending goes on. May be called again."""
        self._is_reading = False
        if self._loop is not None:
            with suppress(ValueError):
                self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        """Read on after `pause`, first what has come meanwhile."""
        if self._loop is not None:
            self._is_reading = True
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _readable(self) -> None:
        receive = self._receive
        if receive is None:
            return
        recvfrom = self._sock.recvfrom
        for _ in range(BATCH):
            try:
                datagram, source = recvfrom(MAX_DATAGRAM)
            except OSError:  # empty, or an ICMP error of something sent before
                return
            self.received += 1
            receive(datagram, source[:2])
            if not self._is_reading:  # paused or closed by what it received
                return

    def send(self, datagram: bytes, dst: Address) -> None:
        """Send one datagram, or drop and count it: buffer full, too long, unreachable, closed."""
        try:
            self._sock.sendto(datagram, dst)
        except OSError:
            self.dropped += 1
        else:
            self.sent += 1

    def close(self) -> None:
        """Stop reading and give the address up. May be called again."""
        self.pause()
        self._loop = self._receive = None
        self._sock.close()
