"""Secrets by reference: `env:NAME` or `file:PATH`, read when they are used, and never shown."""

import os
import stat
from pathlib import Path


class NoSecret(Exception):
    """The reference leads to no secret; the text names it, and never a value."""


def secret(reference: str) -> str:
    """What the reference leads to. Raises NoSecret."""
    scheme, _, name = reference.partition(":")
    if scheme == "env" and name:
        value = os.environ.get(name, "")
        if not value:
            raise NoSecret(f"{reference}: no such variable, or it is empty")
        return value
    if scheme == "file" and name:
        return _of_file(reference, Path(name))
    raise NoSecret("a secret is named by env:NAME or file:PATH, not written down")


def _of_file(reference: str, path: Path) -> str:
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
                raise NoSecret(f"{reference}: others may read it: chmod 600 {path}")
            value = file.read(4_097).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NoSecret(f"{reference}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if not value or len(value) > 4_096:
        raise NoSecret(f"{reference}: empty, or longer than 4096 characters")
    return value
