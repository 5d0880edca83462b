"""A small CA of a cluster's own: what its certificates look like.

Keys are of the curve P-256: every TLS library knows it, and its handshakes are cheap.
"""

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.certificate import dns_names
from cluster.identity import ANY_NODE, Identity, identity_of

CLOCKS_DIFFER = timedelta(minutes=10)
"""A certificate is valid from so long ago, for those whose clocks are behind."""

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """What issues certificates."""

    certificate: x509.Certificate
    key: Key


@dataclass(frozen=True)
class Wanted:
    """Whom a certificate is for."""

    holder: Identity
    ip: str = ""
    """Of a node: for other tools than ours, which look for its address in the certificate."""


def wanted_by(certificate: x509.Certificate) -> Wanted | None:
    """Whom one is for that was issued before; None: it does not say."""
    holder = identity_of(dns_names(certificate))
    if holder is None:
        return None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ips = names.get_values_for_type(x509.IPAddress)
    return Wanted(holder, str(ips[0]) if ips else "")


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(now: datetime, lasts: timedelta) -> Authority:
    key = new_key()
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"keepline CA {secrets.token_hex(4)}")]
    )
    made = (
        begun(name, name, key.public_key(), now, now + lasts)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(made, key)


def issued(
    authority: Authority,
    wanted: Wanted,
    public_key: CertificatePublicKeyTypes,
    now: datetime,
    lasts: timedelta,
) -> x509.Certificate:
    """A certificate for whom it is wanted; it lasts no longer than the CA."""
    holder = wanted.holder
    is_node = holder.role == "node"
    names: list[x509.GeneralName] = [x509.DNSName(holder.dns_name)]
    if is_node:
        names.append(x509.DNSName(ANY_NODE))
    if wanted.ip:
        names.append(x509.IPAddress(ipaddress.ip_address(wanted.ip)))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if is_node:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    ca = authority.certificate
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, holder.name)])
    until = min(now + lasts, ca.not_valid_after_utc)
    return (
        begun(subject, ca.subject, public_key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )


def begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    """What all certificates have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def pem_of_key(key: Key) -> bytes:
    """Not encrypted: a node starts without anybody who could type a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
