"""Which store a cluster has: what `--store` and its siblings say."""

import dataclasses
import os
import re
from pathlib import Path

from cluster.io.secret import NoSecret, is_open, secret

PORTS = {"etcd": 2379, "zookeeper": 2181}
"""The port where none is named."""
PREFIX = "keepline"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

Endpoint = tuple[str, int]


class StoreOptionError(Exception):
    """What was asked for is no store; the text is the one line a person needs."""

    def __init__(self, option: str, why: str) -> None:
        super().__init__(f"{option}: {why}")
        self.option = option
        self.why = why


@dataclasses.dataclass(frozen=True)
class StoreOptions:
    """Where epochs lie. The default: a SQLite file in the data directory."""

    kind: str = "sqlite"
    """"sqlite", "etcd" or "zookeeper"."""
    endpoints: tuple[Endpoint, ...] = ()
    prefix: str = PREFIX
    user: str = ""
    password: str = ""
    """Where the password is, never itself: "env:NAME" or "file:PATH"."""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def is_file(self) -> bool:
        """In the data directory: for one machine."""
        return self.kind == "sqlite"

    @property
    def url(self) -> str:
        """As `--store` says it."""
        if self.is_file:
            return "sqlite"
        places = ",".join(f"{host}:{port}" for host, port in self.endpoints)
        return f"{self.kind}://{places}/{self.prefix}"

    def words(self) -> list[str]:
        """The same on the command line of another process."""
        files = {"ca": self.ca, "cert": self.cert, "key": self.key}
        given = {"user": self.user, "password": self.password} | {
            name: str(path.absolute()) for name, path in files.items() if path
        }
        more = [f"--store-{name}={value}" for name, value in given.items() if value]
        return [f"--store={self.url}", *more]


def parse_store(
    url: str,
    *,
    user: str = "",
    password: str = "",
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> StoreOptions:
    """The checked options. StoreOptionError."""
    kind, colon, rest = url.partition("://")
    if kind == "sqlite" and not colon:
        if user or password or ca or cert or key:
            raise StoreOptionError("--store", "a SQLite file has no user and no certificates")
        return StoreOptions()
    if kind not in PORTS or not colon:
        raise StoreOptionError("--store", f"{url!r} is not sqlite, etcd://... or zookeeper://...")
    places, _, prefix = rest.partition("/")
    prefix = prefix.strip("/") or PREFIX
    if not _PREFIX.fullmatch(prefix):
        raise StoreOptionError("--store", f"{prefix!r} is no prefix like centre/north")
    endpoints = tuple(_endpoint(place, PORTS[kind]) for place in places.split(","))
    if bool(user) != bool(password):
        raise StoreOptionError("--store-user", "a user has a password, and a password a user")
    if bool(cert) != bool(key):
        raise StoreOptionError("--store-cert", "a certificate has a key, and a key a certificate")
    for option, path in (("--store-ca", ca), ("--store-cert", cert), ("--store-key", key)):
        if path is not None and not os.access(path, os.R_OK):
            raise StoreOptionError(option, f"{path} cannot be read")
    if key is not None and is_open(key.stat()):
        raise StoreOptionError("--store-key", f"{key}: others may read it; chmod 600 {key}")
    options = StoreOptions(kind, endpoints, prefix, user, password, ca, cert, key)
    read_password(options)
    return options


def _endpoint(place: str, port: int) -> Endpoint:
    host, colon, number = place.partition(":")
    is_port = number.isdecimal() and 0 < int(number) < 65_536 if colon else True
    if not _HOST.fullmatch(host) or not is_port:
        raise StoreOptionError("--store", f"{place!r} is no HOST:PORT")
    return host, int(number) if colon else port


def read_password(options: StoreOptions) -> str | None:
    """StoreOptionError if it is not where it should be."""
    if not options.password:
        return None
    try:
        return secret(options.password)
    except NoSecret as error:
        raise StoreOptionError("--store-password", str(error)) from None
