"""May a node or a command show this certificate? And what the other end's refusal means.

Says before anything is sent what a handshake would only fail at, and names the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from cluster.identity import ANY_NODE, Files, Identity, NotSecure, identity_of

WARN = timedelta(days=14)
"""So long before it expires a certificate is an alarm."""
CHAIN_MOST = 8
"""Certificates between a holder's and its CA."""


class Contents(NamedTuple):
    """What is in them."""

    ca: bytes
    cert: bytes
    key: bytes


@dataclass(frozen=True)
class Expiry:
    """What ends first of a certificate and the CAs above it."""

    file: PurePath
    at: datetime

    def alarm(self, now: datetime) -> str:
        """What to say of it; empty: it lasts."""
        if now >= self.at:
            return f"{self.file} expired on {day(self.at)}: links that break stay down; renew it"
        if now >= self.at - WARN:
            return f"{self.file} expires on {day(self.at)}: renew it"
        return ""


@dataclass(frozen=True)
class Usable:
    """A certificate that may be shown."""

    holder: Identity
    expiry: Expiry


def checked(files: Files, contents: Contents, now: datetime) -> Usable:
    """Raises NotSecure for the first thing that is wrong."""
    cas = certificates(files.ca, contents.ca)
    own, *between = certificates(files.cert, contents.cert)
    check_key(files, own, contents.key)
    chain = [(files.cert, own), *issuers(files, own, between, cas)]
    for file, one in chain:
        check_time(file, one, now)
    holder = holder_of(files.cert, own)
    file, first = min(chain, key=lambda link: link[1].not_valid_after_utc)
    return Usable(holder, Expiry(file, first.not_valid_after_utc))


def certificates(file: PurePath, content: bytes) -> list[x509.Certificate]:
    """One at least. Raises NotSecure."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise NotSecure(f"{file}: is no certificate in PEM") from None


def check_key(files: Files, own: x509.Certificate, content: bytes) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotSecure(f"{files.key}: is no private key in PEM without a password") from None
    if key.public_key() != own.public_key():
        raise NotSecure(f"{files.key}: is not the key of {files.cert}")


def check_time(file: PurePath, one: x509.Certificate, now: datetime) -> None:
    if now >= one.not_valid_after_utc:
        raise NotSecure(f"{file}: expired on {day(one.not_valid_after_utc)}")
    if now < one.not_valid_before_utc:
        raise NotSecure(f"{file}: is valid only from {day(one.not_valid_before_utc)}")


def issuers(
    files: Files,
    own: x509.Certificate,
    between: Sequence[x509.Certificate],
    cas: Sequence[x509.Certificate],
) -> list[tuple[PurePath, x509.Certificate]]:
    """Who issued it, step by step up to one of the CAs, and where each lies. Raises NotSecure."""
    # A CA that was renewed with its key is there twice; the one that lasts longer counts.
    known = [(files.ca, ca) for ca in sorted(cas, key=lambda ca: ca.not_valid_after_utc)[::-1]]
    known += [(files.cert, one) for one in between]
    chain: list[tuple[PurePath, x509.Certificate]] = []
    last = own
    while len(chain) < CHAIN_MOST:
        above = next((link for link in known if is_issued_by(last, link[1])), None)
        if above is None:
            break
        chain.append(above)
        if above[0] == files.ca:
            return chain
        last = above[1]
    raise NotSecure(f"{files.cert}: was not issued by the CA in {files.ca}")


def is_issued_by(one: x509.Certificate, other: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(other)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def holder_of(file: PurePath, own: x509.Certificate) -> Identity:
    """Raises NotSecure if it names nobody, or may not be used as what it names."""
    names = dns_names(own)
    holder = identity_of(names)
    if holder is None:
        raise NotSecure(
            f"{file}: must have one DNS name that says who holds it, like n1.node.keepline "
            f"or ann.operator.keepline; it has: {', '.join(names) or 'none'}"
        )
    if holder.role == "node" and ANY_NODE not in names:
        raise NotSecure(f"{file}: a node's must have the DNS name {ANY_NODE}, too")
    for usage, word in (
        (ExtendedKeyUsageOID.CLIENT_AUTH, "client"),
        (ExtendedKeyUsageOID.SERVER_AUTH, "server"),
    ):
        if (word == "client" or holder.role == "node") and not may_be(own, usage):
            raise NotSecure(f"{file}: its extended key usage does not allow a TLS {word}")
    return holder


def dns_names(own: x509.Certificate) -> list[str]:
    try:
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.value.get_values_for_type(x509.DNSName)


def may_be(own: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    try:
        return usage in own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True


def day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


SAID: Sequence[tuple[str, str]] = (
    ("certificate has expired", "its certificate has expired"),
    ("certificate is not yet valid", "its certificate is not valid yet; do the clocks agree?"),
    ("Hostname Verification Check failed", "its certificate is another one's"),
    ("unable to get local issuer certificate", "its certificate is of another CA"),
    ("self signed certificate", "its certificate is of another CA"),
    ("certificate signature failure", "its certificate is of another CA"),
    ("unsupported certificate purpose", "its certificate is no node's"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not valid"),
    ("WRONG_VERSION_NUMBER", "it runs without certificates"),
)
"""What gRPC writes of a handshake that failed, by a part of it; and what that means."""


def why_distrusted(details: str) -> str:
    """Why the other end was refused, of an RPC's details; empty: for no such reason."""
    return next((meaning for part, meaning in SAID if part in details), "")
