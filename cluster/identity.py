"""Who is at the other end of a secure link, and what may be asked in each role.

A certificate names its holder by one DNS name, NAME.ROLE.keepline. A node's has a second one, the
same for every node, by which those who know only its address see that it is a node's.
"""

import ipaddress
from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

REALM = "keepline"
ROLES = ("node", "operator", "reader")
ANY_NODE = f"node.{REALM}"

API = "/keepline.v1.Api/"
GATEWAYS = "/keepline.v1.Gateways/"
READING = (f"{API}Read", f"{GATEWAYS}Read", f"{GATEWAYS}Watch")
"""What changes nothing."""


class NotSecure(Exception):
    """The links cannot be made secure; the text is the one line a person needs."""


class Files(NamedTuple):
    """Where a certificate, its key and its CA lie, all PEM.

    `cert` may go on with the CAs between it and the one in `ca`.
    """

    ca: PurePath
    cert: PurePath
    key: PurePath


class Identity(NamedTuple):
    """The holder of a certificate."""

    name: str
    role: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"

    @property
    def dns_name(self) -> str:
        return f"{self.name}.{self.role}.{REALM}"


def identity_of(dns_names: Iterable[str]) -> Identity | None:
    """The one holder that is named; None: nobody, or more than one."""
    found = []
    for dns_name in dns_names:
        name, _, rest = dns_name.removesuffix(f".{REALM}").rpartition(".")
        if dns_name.endswith(f".{REALM}") and name and rest in ROLES:
            found.append(Identity(name, rest))
    return found[0] if len(found) == 1 else None


def may_call(role: str, method: str) -> bool:
    """May this gRPC method be called in this role? What is not named here may only nodes call."""
    match role:
        case "node":
            return True
        case "operator":
            return method.startswith((API, GATEWAYS))
        case "reader":
            return method in READING
        case _:
            return False


def is_loopback(address: str) -> bool:
    """Does "IP:PORT" lie within this machine?"""
    try:
        return ipaddress.ip_address(address.rpartition(":")[0]).is_loopback
    except ValueError:
        return False
