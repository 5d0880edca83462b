"""Who is told of alarms, as it is declared. Secrets are references: `env:NAME`, `file:/PATH`."""

import re

import msgspec

from gateway_mgmt.access import Community, User

Address = tuple[str, int]
"""Host name or IP address, and port."""

ENTERPRISE = "1.3.6.1.4.1.32473.1"
"""Under the number for examples (RFC 5612), as in syslog; a site may have its own."""
ARC = re.compile(r"1\.3\.6\.1(\.(0|[1-9][0-9]{0,8})){1,32}")
TRANSPORTS = ("udp", "tcp", "tls")
SECURITIES = ("starttls", "tls", "none")


class Alertmanager(msgspec.Struct, frozen=True, tag="alertmanager"):
    """Members of one cluster of Alertmanagers: all are told, one that takes it is enough."""

    urls: tuple[str, ...]
    token: str = ""
    """Reference of a bearer token; empty: none is needed."""
    labels: dict[str, str] = {}
    """Set on each alert besides its own."""


class Webhook(msgspec.Struct, frozen=True, tag="webhook"):
    """One URL that gets signed POSTs."""

    url: str
    key: str
    """Reference of the secret that signs."""


class Syslog(msgspec.Struct, frozen=True, tag="syslog"):
    """RFC 5424."""

    address: Address
    transport: str = "tcp"


class Mail(msgspec.Struct, frozen=True, tag="mail"):
    """People, over one SMTP server."""

    server: Address
    sender: str
    to: tuple[str, ...]
    security: str = "starttls"
    user: str = ""
    password: str = ""
    """Reference."""
    digest_ms: int = 60_000
    """After the first message others are gathered for so long."""


class Inform(msgspec.Struct, frozen=True, tag="inform"):
    """An SNMP manager."""

    address: Address
    access: Community | User
    enterprise: str = ENTERPRISE
    """The arc below which notifications and their objects are."""


Receiver = Alertmanager | Webhook | Syslog | Mail | Inform
