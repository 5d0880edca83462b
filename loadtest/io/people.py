"""A whole simulation, from options to report: what `keepline loadtest` and the demo run."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from loadtest.io.control import serve
from loadtest.io.crowd import Crowd
from loadtest.options import Options
from loadtest.report import Report

NICE = -10
"""Phones are machines of their own: where permitted, this process goes before the cluster's."""


def prepare() -> None:
    """Make this process fit for real time: many files, few pauses, first where permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def simulate(options: Options, *, started: Callable[[Crowd], None] | None = None) -> Report:
    """Run a simulation to its end. `started(crowd)` is called once everybody is there.

    Raises OSError when an address cannot be had, BadOption, or what a step raised.
    """
    crowd = Crowd(options)
    try:
        async with serve(crowd):
            crowd.start()
            if started is not None:
                started(crowd)
            await crowd.done.wait()
        if crowd.faults:
            raise crowd.faults[0]
        return crowd.report()
    finally:
        crowd.close()


def run(options: Options) -> Report:
    """Run a simulation in this process, which should do nothing else, to its end."""
    prepare()
    return asyncio.run(simulate(options, started=_obey_signals))


def _obey_signals(crowd: Crowd) -> None:
    """SIGTERM or SIGINT: everybody hangs up and the run ends; the second one ends it at once."""

    def told() -> None:
        if crowd.is_closing:
            crowd.done.set()
        crowd.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        crowd.loop.add_signal_handler(number, told)
