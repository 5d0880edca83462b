"""Receivers that the tests start: HTTP, syslog and SMTP servers on loopback."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Http:
    """Answers each POST with the next of `answers`, then with 200."""

    def __init__(self, *answers: int) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers.items()), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Http":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class SyslogServer:
    """Reads octet-counted messages over TCP or TLS; the first `drops` connections it resets."""

    def __init__(self, tls: ssl.SSLContext | None = None, drops: int = 0) -> None:
        self.lines: list[bytes] = []
        self.drops = drops
        self.dropped = 0
        self._tls = tls

    async def __aenter__(self) -> "SyslogServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address: tuple[str, int] = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dropped < self.drops:
            self.dropped += 1
            await reader.read(10)
            # As the kernel does for a process that died before it had read all.
            link = writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        data = await reader.read()
        while data:
            length, _, rest = data.partition(b" ")
            self.lines.append(rest[: int(length)])
            data = rest[int(length) :]
        writer.close()


@contextmanager
def udp_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(10)
        yield udp


class Mails(Controller):
    """A real SMTP server (aiosmtpd) that keeps what it gets."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self.envelopes: list[Envelope] = []
        self.answers: list[str] = []
        """To the next mails."""
        self._login = login
        self._served: list[SMTP] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = probe.getsockname()
        extra: dict[str, Any] = {"tls_context": tls} if tls else {}
        if login:
            extra |= {"authenticator": self._check, "auth_required": True}
        super().__init__(self, hostname=self.address[0], port=self.address[1], **extra)

    def __enter__(self) -> "Mails":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result()
        self.stop()

    def factory(self) -> SMTP:
        made: SMTP = super().factory()  # type: ignore[no-untyped-call]
        self._served.append(made)
        return made

    async def _hang_up(self) -> None:
        """`stop` would leave the open connections to the garbage collector."""
        for served in self._served:
            for transport in (served.transport, served._original_transport):
                if isinstance(transport, asyncio.WriteTransport):
                    transport.abort()
        await asyncio.sleep(0.05)

    def _check(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        assert self._login is not None
        return AuthResult(
            success=(data.login.decode(), data.password.decode()) == self._login, handled=False
        )

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        answer = self.answers.pop(0) if self.answers else "250 kept"
        if answer.startswith("250"):
            self.envelopes.append(envelope)
        return answer


def contexts(cert: Sequence[Any], authority: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server with this certificate and key, and for a client that trusts the CA."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*cert)
    return server, ssl.create_default_context(cafile=authority)
