"""Fields that several sections of the centre's file have."""

import re
from collections.abc import Mapping

from gateway_mgmt.access import REFERENCE
from node.yaml_tree import Tree

Address = tuple[str, int]

HOUR_MS = 3_600_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HOST = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}")


def text_of(fields: Mapping[str, Tree], name: str) -> str:
    return fields[name].text() if name in fields else ""


def ip_address(tree: Tree, default_port: int) -> Address:
    host, colon, port = tree.text().partition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536
    if not HOST.fullmatch(host) or (colon and not is_port):
        raise tree.wrong(f"{tree.text()!r} is no address; write IP or IP:PORT")
    return host, int(port) if colon else default_port


def reference(tree: Tree) -> str:
    """Never shows what stands there: it may be the secret itself."""
    node = tree.node
    if not isinstance(node.value, str) or not REFERENCE.fullmatch(node.value):
        raise tree.wrong("must be env:NAME or file:/PATH, where the secret is, never the secret")
    return node.value


def clash(one: Address, other: Address) -> bool:
    """Can a host not have both? 0.0.0.0 is all of its addresses."""
    return one[1] == other[1] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))


def shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
