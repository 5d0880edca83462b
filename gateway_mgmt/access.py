"""How somebody is spoken to by SNMP. Secrets are references, never values."""

import re

import msgspec

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/[^\x00-\x1f]{1,255}")
AUTH_PROTOCOLS = ("sha", "sha256")
PRIVACY_PROTOCOLS = ("aes128",)


class Community(msgspec.Struct, frozen=True, tag="v2c"):
    """SNMPv2c."""

    community: str


class User(msgspec.Struct, frozen=True, tag="v3"):
    """SNMPv3 with authentication and privacy."""

    user: str
    auth: str
    privacy: str
    auth_protocol: str = "sha"
    privacy_protocol: str = "aes128"
