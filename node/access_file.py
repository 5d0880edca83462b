"""How SNMP is spoken to somebody, in the centre's file: read, and written again."""

import re
from typing import Any

from msgspec.structs import asdict

from gateway_mgmt.access import AUTH_PROTOCOLS, PRIVACY_PROTOCOLS, Community, User
from node.fields import Address, ip_address, reference
from node.yaml_tree import Tree

FIELDS = ("address", "community", "user", "auth", "privacy", "auth_protocol", "privacy_protocol")
USER_NAME = re.compile(r"[!-~]{1,32}")


def read_snmp(tree: Tree, default_port: int, *more: str) -> tuple[Address, Community | User]:
    """Where, and as whom. `more`: fields that stand beside and are read elsewhere. ConfigError."""
    fields = tree.fields((*FIELDS, *more), required=("address",))
    address = ip_address(fields["address"], default_port)
    if "community" in fields:
        for name in fields:
            if name not in ("address", "community", *more):
                raise fields[name].wrong("has no place beside a community (v2c); write either")
        return address, Community(reference(fields["community"]))
    for name in ("user", "auth", "privacy"):
        if name not in fields:
            raise tree.wrong("is missing; SNMP wants community, or user, auth and privacy", name)
    user = fields["user"].text()
    if not USER_NAME.fullmatch(user):
        raise fields["user"].wrong("a user is 1 to 32 printable characters without blanks")
    protocols = {
        name: fields[name].one_of(known, "protocol")
        for name, known in (
            ("auth_protocol", AUTH_PROTOCOLS),
            ("privacy_protocol", PRIVACY_PROTOCOLS),
        )
        if name in fields
    }
    return address, User(user, reference(fields["auth"]), reference(fields["privacy"]), **protocols)


def access_as_file(access: Community | User, *, whole: bool) -> dict[str, Any]:
    """`whole`: also what need not be said."""
    known = User("", "", "")
    return {
        name: value
        for name, value in asdict(access).items()
        if whole
        or name in ("community", "user", "auth", "privacy")
        or value != getattr(known, name)
    }
