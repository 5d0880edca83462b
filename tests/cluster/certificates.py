"""Certificates for a test: a CA, and what it signs."""

import subprocess
from pathlib import Path


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """A CA of its own in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.cert = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", self.key, "-out", self.cert, "-subj", f"/CN={name}", "-days", "2"),
        )

    def sign(self, name: str, address: str) -> tuple[Path, Path]:
        """A certificate for this IP address, and its key."""
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", cert, "-subj", f"/CN={name}", "-days", "2"),
            *("-CA", self.cert, "-CAkey", self.key, "-addext", f"subjectAltName=IP:{address}"),
            *("-addext", "basicConstraints=CA:FALSE"),
        )
        return cert, key
