"""Secrets by reference: `env:NAME` or `file:PATH`, read when they are used, and never shown."""

import os
import stat
from pathlib import Path

MAX_BYTES = 4_096


class NoSecret(Exception):
    """The reference leads to no secret; the text names it, and never a value."""


def secret(reference: str) -> str:
    """What the reference leads to, without the end of its line. Raises NoSecret."""
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        value = os.environ.get(name, "")
        if not value:
            raise NoSecret(f"{reference}: no such variable, or it is empty")
        return value
    if kind == "file" and name:
        return _of_file(reference, Path(name))
    # Not shown: whoever wrote it there meant it to be the secret.
    raise NoSecret("a secret is named by env:NAME or file:PATH, not written down")


def _of_file(reference: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            if is_open(os.fstat(file.fileno())):
                raise NoSecret(f"{reference}: others may read it; chmod 600 {path}")
            content = file.read(MAX_BYTES + 1)
            value = content.decode().rstrip("\r\n")
    except OSError as error:
        raise NoSecret(f"{reference}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoSecret(f"{reference}: not text") from None
    if not value or len(content) > MAX_BYTES:
        raise NoSecret(f"{reference}: empty, or longer than {MAX_BYTES} bytes")
    return value


def is_open(found: os.stat_result) -> bool:
    """May others read or change the file? A group may read what is root's: that is how root gives a
    secret to a service.
    """
    allowed = stat.S_IRWXU | (stat.S_IRGRP if found.st_uid == 0 else 0)
    return bool(stat.S_IMODE(found.st_mode) & ~allowed)
