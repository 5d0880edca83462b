"""Tells a syslog server (RFC 5424) over UDP, TCP or TLS.

Syslog has no acknowledgement. Over TCP and TLS a connection is made for each batch and closed from
here first: the server closes its side when it has read all, and only then it counts as sent. Over
UDP what was sent counts as received.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from gateway_mgmt.alarms.formats import octet_counted, syslog_line
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.courier import Unsent

DATAGRAM_MAX = 2_048
"""Every receiver should take so much (RFC 5426 §3.2); what is longer loses its end."""


class Syslog:
    """`gateway_mgmt.io.courier.Sender`."""

    most = 500
    apart_ms = 100

    def __init__(
        self,
        address: tuple[str, int],
        *,
        transport: str = "tcp",
        host: str,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 10,
    ) -> None:
        """`host` is what the messages say they are from."""
        if transport not in ("udp", "tcp", "tls"):
            raise ValueError(f"syslog transport {transport!r}: it is udp, tcp or tls")
        self._address = address
        self._transport = transport
        self._host = host
        self._tls = tls
        self._timeout_s = timeout_s

    async def send(self, messages: Sequence[Message]) -> None:
        lines = [syslog_line(message, host=self._host) for message in messages]
        try:
            if self._transport == "udp":
                await asyncio.to_thread(self._by_datagrams, lines)
            else:
                data = b"".join(map(octet_counted, lines))
                await asyncio.to_thread(self._by_stream, data)
        except OSError as error:
            host, port = self._address
            raise Unsent(
                f"syslog {host}:{port}: {error.strerror or type(error).__name__}"
            ) from None

    def _by_datagrams(self, lines: Sequence[bytes]) -> None:
        family = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            for line in lines:
                udp.sendto(line[:DATAGRAM_MAX], self._address)

    def _by_stream(self, data: bytes) -> None:
        with socket.create_connection(self._address, timeout=self._timeout_s) as tcp:
            if self._transport == "tcp":
                tcp.sendall(data)
                tcp.shutdown(socket.SHUT_WR)
                _read_to_end(tcp)
                return
            context = self._tls or ssl.create_default_context()
            with context.wrap_socket(tcp, server_hostname=self._address[0]) as tls:
                tls.sendall(data)
                try:
                    bare = tls.unwrap()
                except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                    return  # it closed without a word, after ours: it has read all
                with bare:
                    bare.shutdown(socket.SHUT_WR)
                    _read_to_end(bare)


def _read_to_end(tcp: socket.socket) -> None:
    while tcp.recv(4_096):
        pass
