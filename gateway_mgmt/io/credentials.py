"""Secrets from where the inventory says they are. They are kept in memory, and shown to nobody."""

from typing import NamedTuple

from cluster.io.secret import NoSecret, secret
from gateway_mgmt.access import Community, User
from gateway_mgmt.snmp import usm


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
        password = self._secret(field, reference)
        if len(password) < usm.PASSWORD_BYTES_MIN:
            least = f"is shorter than {usm.PASSWORD_BYTES_MIN} characters"
            raise CredentialError(f"snmp.{field}: {reference}: {least}")
        return password

    def _secret(self, field: str, reference: str) -> Secret:
        if reference not in self._secrets:
            try:
                self._secrets[reference] = read(reference)
            except CredentialError as error:
                raise CredentialError(f"snmp.{field}: {error}") from None
        return self._secrets[reference]


def read(reference: str) -> Secret:
    """The secret that is meant. Raises CredentialError."""
    try:
        return Secret(secret(reference).encode())
    except NoSecret as error:
        raise CredentialError(str(error)) from None
