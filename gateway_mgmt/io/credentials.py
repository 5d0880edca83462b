"""Secrets from where the inventory says they are. They are kept in memory, and shown to nobody."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from gateway_mgmt.inventory import Community, User
from gateway_mgmt.snmp import usm

MAX_BYTES = 1_024
OTHERS = stat.S_IRWXO


class CredentialError(Exception):
    """The text names field, reference and what is wrong with it, never the secret."""


class Secret(bytes):
    """Bytes that do not show themselves in a traceback or a log."""

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__


class Resolved(NamedTuple):
    """What SNMP needs of a device's credentials."""

    access: Community | User
    community: Secret | None = None
    keys: usm.Master | None = None


class Credentials:
    """Resolves each reference once."""

    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}
        self._keys: dict[tuple[str, str, str], usm.Master] = {}

    def resolve(self, access: Community | User) -> Resolved:
        """Raises CredentialError."""
        if isinstance(access, Community):
            return Resolved(access, community=self._secret("community", access.community))
        known = (access.auth_protocol, access.auth, access.privacy)
        if known not in self._keys:
            auth, privacy = self._password("auth", access), self._password("privacy", access)
            self._keys[known] = usm.master(access.auth_protocol, auth, privacy)
        return Resolved(access, keys=self._keys[known])

    def _password(self, field: str, access: User) -> Secret:
        reference = getattr(access, field)
        secret = self._secret(field, reference)
        if len(secret) < usm.PASSWORD_BYTES_MIN:
            least = f"is shorter than {usm.PASSWORD_BYTES_MIN} characters"
            raise CredentialError(f"snmp.{field}: {reference}: {least}")
        return secret

    def _secret(self, field: str, reference: str) -> Secret:
        if reference not in self._secrets:
            try:
                self._secrets[reference] = read(reference)
            except CredentialError as error:
                raise CredentialError(f"snmp.{field}: {error}") from None
        return self._secrets[reference]


def read(reference: str) -> Secret:
    """The secret that is meant. Raises CredentialError."""
    kind, _, where = reference.partition(":")
    if kind == "env":
        found = os.environ.get(where)
        if not found:
            raise CredentialError(f"{reference}: the variable is not set")
        return Secret(found.encode())
    try:
        with Path(where).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise CredentialError(f"{reference}: is open to everybody; chmod o= {where}")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CredentialError(f"{reference}: cannot be read: {error.strerror}") from None
    secret = content.rstrip(b"\r\n")
    if not secret or len(content) > MAX_BYTES:
        raise CredentialError(f"{reference}: holds no secret of 1 to {MAX_BYTES} bytes")
    return Secret(secret)
