"""Python runs this first in every process that has this folder on its path: a node that is to be
measured turns asyncio's own loop, and keeps the longest CPU time that one callback of it took.

At SIGUSR2 it is appended to the file that KEEPLINE_TURNS names, and measuring begins anew.
"""

import os
import sys

if (
    os.environ.get("KEEPLINE_TURNS")
    and "node" in sys.orig_argv
    and "--listen" in " ".join(sys.orig_argv)
):
    import asyncio
    import asyncio.events
    import json
    import signal
    import time
    import types
    from pathlib import Path
    from typing import Any

    longest: dict[str, Any] = {"ms": 0.0, "what": ""}
    honest = asyncio.events.Handle._run

    def _run(handle: Any) -> None:
        began = time.thread_time_ns()
        honest(handle)
        ms = (time.thread_time_ns() - began) / 1e6
        if ms > longest["ms"]:
            what = f"{handle!r} {getattr(handle._callback, '__self__', '')!r}"
            if "run_node" not in what:  # its start is over before it has joined
                longest.update(ms=ms, what=what[:300])

    def tell(*_: object) -> None:
        with Path(os.environ["KEEPLINE_TURNS"]).open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **longest}) + "\n")
        longest.update(ms=0.0, what="")

    asyncio.events.Handle._run = _run  # type: ignore[assignment]
    asyncio.tasks.Task = asyncio.tasks._PyTask  # type: ignore[attr-defined, misc]  # says what it runs
    signal.signal(signal.SIGUSR2, tell)
    loop = types.ModuleType("uvloop")
    loop.new_event_loop = asyncio.new_event_loop  # type: ignore[attr-defined]
    sys.modules["uvloop"] = loop
