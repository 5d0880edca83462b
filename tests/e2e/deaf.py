"""`keepline` with a planted fault, started as a script: at SIGUSR1 a node reads its SIP addresses
no more, while its links, its loop and its process go on.

`up` starts its nodes as this same script, so every node of the cluster has the fault.
"""

import asyncio
import signal
import sys
from typing import Any
from unittest.mock import patch

from node import up
from node.cli import main
from sip.io.udp import Port


def keepline(*words: str) -> list[str]:
    return [sys.executable, "-P", __file__, *words]


def plant() -> None:
    start = Port.start

    def deafening(port: Port, loop: asyncio.AbstractEventLoop, receive: Any) -> None:
        start(port, loop, receive)
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.remove_reader(port._sock.fileno()))

    patch.object(Port, "start", deafening).start()
    patch.object(up, "keepline", keepline).start()


if __name__ == "__main__":
    plant()
    main()
