"""How this process proves who it is to others, and they to it: by certificates, or not at all.

`Open` is one machine's own: it goes nowhere but to loopback. `Secure` shows a certificate and asks
for one, on every connection and in both directions; files that change are read again, and what is
wrong with the new ones is an alarm while the old ones stay in use.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Protocol

import grpc
import grpc.aio

from cluster.certificate import Contents, Usable, checked
from cluster.identity import ANY_NODE, Files, Identity, NotSecure, identity_of, is_loopback
from cluster.io.secret import is_open

Options = Sequence[tuple[str, Any]]
Note = Callable[..., None]

CA, CERT, KEY = "ca.crt", "tls.crt", "tls.key"
"""What the files of one holder are called: ca.crt, and its own two."""

LOOK_MS = 1_000
"""How often the files are looked at. A change is read when it has stood for as long."""


class Security(Protocol):
    """What servers and channels need to know of it."""

    version: int
    """Grows when new channels are to be made, as what they show has changed."""

    def permit(self, addresses: Mapping[str, str]) -> None:
        """Raises NotSecure if one of these nodes' addresses may not be used."""

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        """Let the server listen there; the port."""

    def channel(self, address: str, options: Options, node: str = "") -> grpc.aio.Channel:
        """To the node of that name, or to any node."""

    @property
    def is_secure(self) -> bool: ...

    @property
    def alarms(self) -> list[str]:
        """What somebody must look after."""

    async def watch(self, note: Note) -> None:
        """Keep up with the files; each change and each alarm is noted once."""


class Open:
    """No certificates."""

    is_secure = False
    version = 0

    @property
    def alarms(self) -> list[str]:
        return []

    def permit(self, addresses: Mapping[str, str]) -> None:
        for node, address in addresses.items():
            if not is_loopback(address):
                raise NotSecure(
                    f"node {node}: {address} can be reached from other machines; "
                    "without certificates only 127.0.0.0/8 is used (keepline cert init, --tls)"
                )

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        return server.add_insecure_port(listen)

    def channel(self, address: str, options: Options, node: str = "") -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address, options=options)

    async def watch(self, note: Note) -> None:
        """There is nothing to watch."""


class Secure:
    """A certificate of our own, and a CA whose certificates are believed."""

    is_secure = True

    def __init__(self, files: Files, *, node: str = "") -> None:
        """Raises NotSecure. `node`: whose certificate it must be; empty: anybody's."""
        self._files = files
        self._node = node
        self._seen = state(files)
        self._contents, self.own = read(files, node)
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self._fault = ""
        self._noted: list[str] = []
        self.version = 1

    @property
    def alarms(self) -> list[str]:
        found = (self._fault, self.own.expiry.alarm(datetime.now(UTC)))
        return [alarm for alarm in found if alarm]

    def permit(self, addresses: Mapping[str, str]) -> None:
        """Any: who has no certificate gets nowhere there."""

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        return server.add_secure_port(
            listen,
            grpc.dynamic_ssl_server_credentials(
                self._configuration(),
                self._renewed,  # type: ignore[arg-type]  # None is allowed, the stubs forget it
                require_client_authentication=True,
            ),
        )

    def channel(self, address: str, options: Options, node: str = "") -> grpc.aio.Channel:
        ca, cert, key = self._contents
        name = Identity(node, "node").dns_name if node else ANY_NODE
        return grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(ca, key, cert),
            options=[*options, ("grpc.default_authority", name)],
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        ca, cert, key = self._contents
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """For a connection that comes in, on a thread of gRPC's; None: what it has is right."""
        fresh, self._fresh = self._fresh, None
        return fresh

    async def watch(self, note: Note) -> None:
        before = self._seen
        while True:
            await asyncio.sleep(LOOK_MS / 1000)
            now = await asyncio.to_thread(state, self._files)
            if now == before != self._seen:
                self._seen = now
                try:
                    self._contents, self.own = await asyncio.to_thread(
                        read, self._files, self._node
                    )
                except NotSecure as error:
                    self._fault = str(error)
                else:
                    self._fault = ""
                    self._fresh = self._configuration()
                    self.version += 1
                    until = self.own.expiry.at.isoformat()
                    note("certificate renewed", holder=str(self.own.holder), until=until)
            before = now
            alarms = self.alarms
            for alarm in alarms:
                if alarm not in self._noted:
                    note("certificate alarm", alarm=alarm)
            self._noted = alarms


def caller_of(context: "grpc.aio.ServicerContext[Any, Any]") -> Identity | None:
    """Who calls, by a certificate that the handshake has checked; None: it names nobody, or there
    is none."""
    return identity_of(name.decode() for name in context.auth_context().get("peer_dns", ()))


def state(files: Files) -> tuple[tuple[int, ...], ...]:
    """Changes when one of the files does."""
    found: list[tuple[int, ...]] = []
    for file in files:
        try:
            seen = Path(file).stat()
        except OSError:
            found.append(())
        else:
            found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return tuple(found)


def read(files: Files, node: str) -> tuple[Contents, Usable]:
    """What lies there, checked. Raises NotSecure."""
    contents = Contents(content(files.ca), content(files.cert), content(files.key, is_key=True))
    usable = checked(files, contents, datetime.now(UTC))
    if node and usable.holder != Identity(node, "node"):
        raise NotSecure(f"{files.cert}: is the certificate of {usable.holder}, not of node {node}")
    return contents, usable


def content(file: PurePath, *, is_key: bool = False) -> bytes:
    """Raises NotSecure if it cannot be read, or is a key that others can."""
    try:
        with Path(file).open("rb") as opened:
            if is_key and is_open(os.fstat(opened.fileno())):
                raise NotSecure(f"{file}: others may use this key; chmod 600 {file}")
            return opened.read()
    except OSError as error:
        raise NotSecure(f"{file}: cannot be read: {error.strerror}") from None


def files_in(folder: Path) -> Files:
    """As `keepline cert init` names them. Raises NotSecure if it is the folder of them all."""
    if not (folder / CERT).exists():
        below = sorted(str(path.parent) for path in folder.glob(f"*/{CERT}"))
        if below:
            raise NotSecure(f"{folder}: holds several certificates; name one: {', '.join(below)}")
    return Files(folder / CA, folder / CERT, folder / KEY)
