"""A site's own MIB files, from a folder."""

from pathlib import Path

from gateway_mgmt.mib import FILE_BYTES_MAX, FILES_MAX, MibError, Mibs, Module, read_mib


def load_mibs(folder: Path) -> Mibs:
    """Every module in the files of the folder. Raises MibError."""
    modules: dict[str, Module] = {}
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if len(files) > FILES_MAX:
            raise MibError(f"{folder}: has more than {FILES_MAX} files")
        for file in files:
            if file.stat().st_size <= FILE_BYTES_MAX:
                modules |= read_mib(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise MibError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if not modules:
        raise MibError(f"{folder}: no MIB module lies here")
    return Mibs(modules)
