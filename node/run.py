"""The process of one node: its log, its signals, and how it ends.

Exit status: 0 told to stop, 1 it cannot run here, 70 it no longer believes its own state.
"""

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import sys

import structlog

from cluster.fault import kind, place
from cluster.io import clock
from cluster.store import StoreAway, StoreRefused
from node import stores
from node.directory import Directory
from node.log_file import log_to
from node.node import Node
from node.options import NodeOptions

BROKEN = 70

NICE = -10
"""Calls go before whatever else runs on this machine, where permitted; only audio goes before them.
A node takes it when it has been loaded: one that starts must not hold up those that serve."""

log = structlog.get_logger()


async def run_node(options: NodeOptions) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigError, DirectoryError, NotSecure."""
    directory = Directory(options.data)
    directory.prepare()
    if options.store.is_file:
        directory.check_store()
    log_to(directory.logs / f"{options.name}.log")

    def broken(error: BaseException) -> None:
        """At once, whatever is under way: what is in memory is not to be believed."""
        log.error("node stops", node=options.name, error=kind(error), at=place(error))
        complain(options, f"stopped by a bug: {kind(error)} at {place(error)}")
        os._exit(BROKEN)

    node = Node(options, broken)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.clock_jump_ms:
        jumps = itertools.cycle((options.clock_jump_ms, 0))
        loop.add_signal_handler(signal.SIGUSR2, lambda: clock.jump(next(jumps)))
    nice = prepare()
    try:
        await node.start()
    except StoreAway as error:
        cannot_start(options, f"{stores.name(options.store, directory)} does not answer: {error}")
    except StoreRefused as error:
        cannot_start(options, str(error))
    except OSError as error:
        cannot_start(options, error.strerror or str(error))
    log.info("node up", node=options.name, pid=os.getpid(), metrics=node.metrics_port, nice=nice)
    await stop.wait()
    await node.stop()


def prepare() -> int:
    """Few pauses, and first where permitted; the niceness that was obtained.

    Comes before the node has threads, which inherit it, and before it joins, so that nobody waits
    for it meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    return os.getpriority(os.PRIO_PROCESS, 0)


def cannot_start(options: NodeOptions, why: str) -> None:
    log.error("node cannot start", node=options.name, error=why)
    complain(options, f"cannot start: {why}")
    raise SystemExit(1)


def complain(options: NodeOptions, what: str) -> None:
    """One line on stderr."""
    print(f"keepline node {options.name}: {what}", file=sys.stderr, flush=True)
