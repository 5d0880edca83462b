"""The folder of a cluster's certificates: a CA, and below it one folder for each holder.

DIR/ca/ca.crt, ca.key                   the CA; its key belongs on no node
DIR/NAME/ca.crt, tls.crt, tls.key       what NAME needs: the folder is copied to where NAME is
"""

import contextlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cluster.certificate import certificates, check_time, dns_names
from cluster.identity import Identity, NotSecure, identity_of
from cluster.io.security import CA, CERT, KEY, content
from node.authority import (
    Authority,
    Wanted,
    issued,
    new_authority,
    new_key,
    pem,
    pem_of_key,
    wanted_by,
)
from node.config import NAME

CA_LASTS = timedelta(days=3_650)
CA_FOLDER, CA_KEY = "ca", "ca.key"


def create(folder: Path, wanted: Sequence[Wanted], lasts: timedelta) -> None:
    """A new CA and its first certificates. Raises NotSecure, also when there is one."""
    if (folder / CA_FOLDER).exists():
        raise NotSecure(f"{folder / CA_FOLDER}: there is a CA; keepline cert add makes more by it")
    check_new(folder, wanted)
    authority = new_authority(datetime.now(UTC), CA_LASTS)
    make_folder(folder)
    make_folder(folder / CA_FOLDER)
    write(folder / CA_FOLDER / CA_KEY, pem_of_key(authority.key), 0o600)
    write(folder / CA_FOLDER / CA, pem(authority.certificate), 0o644)
    issue_all(folder, authority, wanted, lasts)


def add(folder: Path, wanted: Sequence[Wanted], lasts: timedelta) -> None:
    """More certificates by the CA that is there. Raises NotSecure."""
    check_new(folder, wanted)
    issue_all(folder, authority_in(folder), wanted, lasts)


def check_new(folder: Path, wanted: Sequence[Wanted]) -> None:
    """Raises NotSecure if something that is there would be written over."""
    names = [one.holder.name for one in wanted]
    for name in names:
        if names.count(name) > 1:
            raise NotSecure(f"{name}: is wanted twice; each holder has a folder of its own")
        if (folder / name).exists():
            raise NotSecure(f"{folder / name}: is there already; nothing was made")


def issue_all(
    folder: Path, authority: Authority, wanted: Sequence[Wanted], lasts: timedelta
) -> None:
    for one in wanted:
        own = folder / one.holder.name
        key = new_key()
        made = issued(authority, one, key.public_key(), datetime.now(UTC), lasts)
        make_folder(own)
        write(own / KEY, pem_of_key(key), 0o600)
        write(own / CERT, pem(made), 0o644)
        write(own / CA, pem(authority.certificate), 0o644)


def renew(folder: Path, names: Sequence[str], lasts: timedelta) -> list[Identity]:
    """New certificates for the keys that are there, of all if none is named; whose.

    One file changes, by a rename: who reads meanwhile finds a whole pair. Raises NotSecure.
    """
    authority = authority_in(folder)
    known = holders_in(folder)
    chosen = list(names) or sorted(known)
    for name in chosen:
        if name not in known:
            raise NotSecure(f"{folder / name}: has no {CERT} to renew")
    renewed = []
    for name in chosen:
        old = certificates(known[name], content(known[name]))[0]
        wanted = wanted_by(old)
        if wanted is None:
            raise NotSecure(f"{known[name]}: does not say whose it is")
        made = issued(authority, wanted, old.public_key(), datetime.now(UTC), lasts)
        write(known[name], pem(made), 0o644, replace=True)
        renewed.append(wanted.holder)
    return renewed


def authority_in(folder: Path) -> Authority:
    """Raises NotSecure."""
    here = folder / CA_FOLDER
    certificate = certificates(here / CA, content(here / CA))[0]
    try:
        key = load_pem_private_key(content(here / CA_KEY, is_key=True), password=None)
    except (ValueError, TypeError):
        raise NotSecure(f"{here / CA_KEY}: is no private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NotSecure(f"{here / CA_KEY}: was not made by keepline cert init")
    check_time(here / CA, certificate, datetime.now(UTC))
    return Authority(certificate, key)


def holders_in(folder: Path) -> dict[str, Path]:
    """The certificates of the folder, by the folder of their holder."""
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{CERT}"))}


def shown(folder: Path, now: datetime) -> list[dict[str, Any]]:
    """Who, in which role and until when, of each certificate that lies there. Raises NotSecure."""
    own = (folder / CERT, *holders_in(folder).values(), folder / CA_FOLDER / CA)
    files = [file for file in own if file.exists()]
    if not files:
        raise NotSecure(f"{folder}: no certificate lies here; keepline cert init --dir {folder}")
    rows = []
    for file in files:
        one = certificates(file, content(file))[0]
        holder = identity_of(dns_names(one))
        is_ca = file.name == CA
        rows.append(
            {
                "who": "" if is_ca or holder is None else holder.name,
                "role": "ca" if is_ca else "" if holder is None else holder.role,
                "until": one.not_valid_after_utc.isoformat(),
                "days": (one.not_valid_after_utc - now) // timedelta(days=1),
                "file": str(file),
            }
        )
    return rows


def wanted_of(role: str, written: str) -> Wanted:
    """Of NAME or, for a node, NAME=IP. Raises NotSecure."""
    name, equals, ip = written.partition("=")
    if not NAME.fullmatch(name) or name == CA_FOLDER:
        raise NotSecure(f"{name!r} is no name of a holder")
    if equals:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(ip)
            if role == "node":
                return Wanted(Identity(name, role), ip)
        raise NotSecure(f"{written!r} is no NAME=IP of a node")
    return Wanted(Identity(name, role))


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotSecure(f"{folder}: cannot be made: {error.strerror}") from None


def write(file: Path, text: bytes, mode: int, *, replace: bool = False) -> None:
    """Whole or not at all, and never over a file that is there unless it is to be replaced."""
    to = file.with_name(f".{file.name}.new") if replace else file
    try:
        if replace:
            to.unlink(missing_ok=True)
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as opened:  # noqa: PTH123  # a descriptor is no path
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        if replace:
            to.replace(file)
    except OSError as error:
        raise NotSecure(f"{to}: cannot be written: {error.strerror}") from None
