"""Certificates for tests: a CA, and whatever it is asked to issue, good or bad."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.identity import Files, Identity
from cluster.io.security import Secure, files_in
from node.authority import Authority, Key, Wanted, issued, new_authority, new_key, pem, pem_of_key

YEAR = timedelta(days=365)


class Papers:
    """A CA, whose holders have their folders in `folder`."""

    def __init__(
        self, folder: Path, *, since: timedelta = timedelta(), lasts: timedelta = 2 * YEAR
    ) -> None:
        """The CA is valid since so long ago."""
        self.folder = folder
        self.authority: Authority = new_authority(datetime.now(UTC) - since, lasts)

    def give(
        self,
        name: str,
        role: str = "node",
        *,
        to: Path | None = None,
        since: timedelta = timedelta(),
        lasts: timedelta = YEAR,
        key: Key | None = None,
    ) -> Files:
        """A certificate valid since so long ago, for so long, in the folder of its holder."""
        folder = to or self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        key = key or new_key()
        made = issued(
            self.authority,
            Wanted(Identity(name, role)),
            key.public_key(),
            datetime.now(UTC) - since,
            lasts,
        )
        (folder / "ca.crt").write_bytes(pem(self.authority.certificate))
        (folder / "tls.crt").write_bytes(pem(made))
        (folder / "tls.key").touch(mode=0o600)
        (folder / "tls.key").write_bytes(pem_of_key(key))
        return files_in(folder)

    def secure(self, name: str, role: str = "node", *, lasts: timedelta = YEAR) -> Secure:
        """The holder's side of a connection."""
        return Secure(self.give(name, role, lasts=lasts))
