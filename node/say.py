"""Short lines for the person at the terminal."""

import contextlib
import sys


def say(line: str) -> None:
    """Print the line at once. A terminal or pipe that is gone is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
