"""`python -m media_servers.embedded.io.encode WAV TARGET`: encodes one sound, at low priority."""

import os
import sys
from pathlib import Path

from media_servers.embedded.io.sounds import encode
from media_servers.embedded.sound import BadSound


def main() -> int:
    os.nice(10)
    source, target = map(Path, sys.argv[1:3])
    try:
        encode(source, target)
    except (BadSound, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
