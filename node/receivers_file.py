"""The receivers of alarms in the centre's file: read, and written again."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway_mgmt.receivers import (
    ARC,
    ENTERPRISE,
    SECURITIES,
    TRANSPORTS,
    Address,
    Alertmanager,
    Inform,
    Mail,
    Receiver,
    Syslog,
    Webhook,
)
from node.access_file import access_as_file, read_snmp
from node.fields import HOST as IPV4
from node.fields import reference, shown
from node.yaml_tree import Tree, in_words

Fields = dict[str, Any]

KINDS = ("alertmanager", "webhook", "syslog", "mail", "inform")
TRAP_PORT = 162
PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = re.compile(rf"(?=.{{1,253}}$){PART}(?:\.{PART})*")
MAIL_ADDRESS = re.compile(rf"[!#-'*+./0-9=?A-Z^-~-]{{1,64}}@{PART}(?:\.{PART})*")
URL = re.compile(r"[!-~]{1,2000}")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
OWN_LABELS = ("alertname", "gateway", "path", "severity")
"""An alert has them from its alarm."""
SYSLOG_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
MAIL_PORTS = {"starttls": 587, "tls": 465, "none": 25}
DIGEST_LEAST_MS, DIGEST_MOST_MS = 1_000, 3_600_000


def read_receiver(tree: Tree) -> Receiver:
    """One receiver: a mapping with its kind as the only key. Raises ConfigError."""
    kinds = tree.fields(KINDS)
    if len(kinds) != 1:
        raise tree.wrong(f"must be one of {', '.join(KINDS)}")
    kind, written = next(iter(kinds.items()))
    match kind:
        case "alertmanager":
            return _alertmanager(written)
        case "webhook":
            fields = written.fields(("url", "key"), required=("url", "key"))
            return Webhook(_url(fields["url"]), reference(fields["key"]))
        case "syslog":
            fields = written.fields(("address", "transport"), required=("address",))
            transport = _one_of(fields, "transport", TRANSPORTS, "tcp")
            return Syslog(_address(fields["address"], SYSLOG_PORTS[transport]), transport)
        case "mail":
            return _mail(written)
        case _:
            return _inform(written)


def _alertmanager(tree: Tree) -> Alertmanager:
    fields = tree.fields(("urls", "token", "labels"), required=("urls",))
    urls = _each(fields["urls"], _url)
    if not urls:
        raise fields["urls"].wrong("names no URL")
    labels = {}
    for name, value in fields["labels"].mapping().items() if "labels" in fields else ():
        if not LABEL.fullmatch(name):
            raise value.wrong("a label is letters, digits and _ and starts with no digit")
        if name in OWN_LABELS:
            raise value.wrong("is what the alarm says; give the label another name")
        labels[name] = value.text()
    return Alertmanager(urls, reference(fields["token"]) if "token" in fields else "", labels)


def _mail(tree: Tree) -> Mail:
    fields = tree.fields(
        ("server", "from", "to", "security", "user", "password", "digest"),
        required=("server", "from", "to"),
    )
    security = _one_of(fields, "security", SECURITIES, "starttls")
    user = fields["user"].text() if "user" in fields else ""
    if bool(user) != ("password" in fields):
        raise tree.wrong("user and password belong together")
    if user and security == "none":
        raise fields["security"].wrong("a login needs starttls or tls: anybody could read it")
    to = _each(fields["to"], _mail_address)
    if not to:
        raise fields["to"].wrong("names nobody")
    digest = {}
    if "digest" in fields:
        digest["digest_ms"] = fields["digest"].duration_ms(DIGEST_LEAST_MS, DIGEST_MOST_MS)
    return Mail(
        server=_address(fields["server"], MAIL_PORTS[security]),
        sender=_mail_address(fields["from"]),
        to=to,
        security=security,
        user=user,
        password=reference(fields["password"]) if user else "",
        **digest,
    )


def _inform(tree: Tree) -> Inform:
    address, access = read_snmp(tree, TRAP_PORT, "enterprise")
    written = tree.mapping().get("enterprise")
    if written is None:
        return Inform(address, access)
    if not ARC.fullmatch(written.text()):
        raise written.wrong(f"{written.text()!r} is no OID below 1.3.6.1, like {ENTERPRISE}")
    return Inform(address, access, written.text())


def _one_of(fields: Mapping[str, Tree], name: str, known: tuple[str, ...], otherwise: str) -> str:
    return fields[name].one_of(known, name) if name in fields else otherwise


def _each(tree: Tree, read: Callable[[Tree], str]) -> tuple[str, ...]:
    found: list[str] = []
    for item in tree.items():
        one = read(item)
        if one in found:
            raise item.wrong("stands here twice")
        found.append(one)
    return tuple(found)


def is_host(written: str) -> bool:
    """A name as DNS takes it, or an IPv4 address."""
    is_number = re.fullmatch(r"[0-9.]+", written)
    return bool(IPV4.fullmatch(written) if is_number else HOST.fullmatch(written))


def _url(tree: Tree) -> str:
    """Not shown: a password may stand in it."""
    written = tree.text()
    try:
        parts = urlsplit(written)
        host = parts.hostname or ""
        is_sound = parts.scheme in ("http", "https") and (":" in host or is_host(host))
        is_sound = is_sound and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or not URL.fullmatch(written):
        raise tree.wrong("is no URL, like https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise tree.wrong("must hold no user and no password")
    return written


def _address(tree: Tree, default_port: int) -> Address:
    host, colon, port = tree.text().partition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536
    if not is_host(host) or (colon and not is_port):
        raise tree.wrong(f"{tree.text()!r} is no address; write HOST or HOST:PORT")
    return host, int(port) if colon else default_port


def _mail_address(tree: Tree) -> str:
    if not MAIL_ADDRESS.fullmatch(tree.text()):
        raise tree.wrong(f"{tree.text()!r} is no e-mail address")
    return tree.text()


def receiver_as_file(receiver: Receiver) -> Fields:
    """As it is read; with the ports that may be left out."""
    match receiver:
        case Alertmanager():
            written: Fields = {"urls": list(receiver.urls)}
            written |= {"token": receiver.token} if receiver.token else {}
            written |= {"labels": receiver.labels} if receiver.labels else {}
            return {"alertmanager": written}
        case Webhook():
            return {"webhook": {"url": receiver.url, "key": receiver.key}}
        case Syslog():
            return {
                "syslog": {
                    "address": shown(receiver.address),
                    "transport": receiver.transport,
                }
            }
        case Inform():
            arc = {} if receiver.enterprise == ENTERPRISE else {"enterprise": receiver.enterprise}
            access = access_as_file(receiver.access, whole=False)
            return {"inform": {"address": shown(receiver.address), **access, **arc}}
        case Mail():
            login = {"user": receiver.user, "password": receiver.password}
            return {
                "mail": {
                    "server": shown(receiver.server),
                    "from": receiver.sender,
                    "to": list(receiver.to),
                    "security": receiver.security,
                    **(login if receiver.user else {}),
                    "digest": in_words(receiver.digest_ms),
                }
            }
