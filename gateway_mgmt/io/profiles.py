"""The profiles that are shipped, and those of a site, from their files."""

from functools import cache
from pathlib import Path

from gateway_mgmt.profile import Profile, ProfileError, read_profile

SHIPPED = Path(__file__).resolve().parent.parent / "profiles"


@cache
def shipped() -> dict[str, Profile]:
    """By name: `audiocodes`, `generic`, …"""
    return load_folder(SHIPPED)


def load_folder(folder: Path) -> dict[str, Profile]:
    """Every `NAME.yaml` of the folder by its name. Raises ProfileError."""
    return {file.stem: load_profile(file) for file in sorted(folder.glob("*.yaml"))}


def load_profile(file: Path) -> Profile:
    """Raises ProfileError."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read: {error.strerror}") from None
    return read_profile(text, str(file))
