"""`keepline` with a planted fault, started as a script: a request with the header field X-Poison
makes the step that takes it raise, once it has changed what it would change.

`up` starts its nodes as this same script, so every node of the cluster has the fault.
"""

import sys
from typing import Any
from unittest.mock import patch

from calls import signalling
from node import up
from node.cli import main


def keepline(*words: str) -> list[str]:
    return [sys.executable, "-P", __file__, *words]


def plant() -> None:
    honest = signalling.requested

    def requested(t: Any, event: Any) -> None:
        honest(t, event)
        if event.message.get("x-poison"):
            raise ZeroDivisionError("planted")

    patch.object(signalling, "requested", requested).start()
    patch.object(up, "keepline", keepline).start()


if __name__ == "__main__":
    plant()
    main()
