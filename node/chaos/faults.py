"""What can happen to a cluster, each as a person would do it to real processes and links.

A fault is a context: it has struck when the context is entered, which tells when, and it is undone
when the context is left.
"""

import asyncio
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loadtest.io.stopping import wait_until_still
from node.chaos.links import Links
from node.chaos.stores import StoreHere

DELAY_MS = 20
CLOCK_JUMP_MS = 3_600_000

ENDS_S = 5.0
"""A killed process is waited for so long."""
NICE = -10


@dataclass(frozen=True)
class Node:
    """A node's process."""

    name: str
    pid: int


@dataclass(frozen=True)
class Stage:
    """What a fault acts on."""

    active: Node
    """It leads the first shard."""
    standby: Node
    """It leads nothing, if there is such a one."""
    turn: Node
    """The nodes one after the other, in the strikes of one run."""
    media_pid: int
    store: StoreHere
    links: Links | None
    """Where the fault asked for it."""


@dataclass(frozen=True)
class Struck:
    """Moments in ms of the monotonic clock."""

    at_ms: float
    still_ms: float
    """From here on nothing of the old can answer."""


Act = Callable[[Stage], AbstractAsyncContextManager[Struck]]
Victim = Callable[[Stage], Node | None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    says: str
    """What happens, for people."""
    act: Act
    victim: Victim = lambda stage: stage.active
    """The node that can no longer lead; None: all of them can."""
    lasts_ms: int = 0
    """From the strike to its undoing."""
    in_a_row: bool = False
    """Once for each node, the cluster being whole each time."""
    takes_audio: bool = False
    """The media server is hit: packets are lost for a moment."""
    on_links: bool = False
    """Needs links that can be cut."""
    on_clock: bool = False


def monotonic_ms() -> float:
    return time.monotonic_ns() / 1e6


def _prefer() -> None:
    """This thread goes before others where permitted: the time of a strike must be its time."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


_HAND = ThreadPoolExecutor(1, thread_name_prefix="strike", initializer=_prefer)


async def _strike(work: Callable[[], Struck]) -> Struck:
    return await asyncio.get_running_loop().run_in_executor(_HAND, work)


async def killed(*pids: int) -> Struck:
    """kill -9 of all of them; none runs when it returns."""
    with contextlib.ExitStack() as opened:
        handles = []
        for pid in pids:
            handles.append(os.pidfd_open(pid))
            opened.callback(os.close, handles[-1])

        def strike() -> Struck:
            at_ms = monotonic_ms()
            for handle in handles:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            for handle in handles:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                if not poll.poll(ENDS_S * 1_000):
                    raise TimeoutError(f"a killed process has not ended within {ENDS_S:g} s")
            return Struck(at_ms, monotonic_ms())

        return await _strike(strike)


@contextlib.asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[Struck]:
    """SIGSTOP, and SIGCONT at the end, if it is still there."""
    handle = os.pidfd_open(pid)

    def strike() -> Struck:
        at_ms = monotonic_ms()
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        wait_until_still(pid)
        return Struck(at_ms, monotonic_ms())

    try:
        yield await _strike(strike)
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGCONT)
        os.close(handle)


def kill(*which: Callable[[Stage], int]) -> Act:
    """kill -9 of these processes, together."""

    @contextlib.asynccontextmanager
    async def act(stage: Stage) -> AsyncIterator[Struck]:
        yield await killed(*(pid(stage) for pid in which))

    return act


def hang(which: Callable[[Stage], int]) -> Act:
    """SIGSTOP of the process, then SIGCONT."""
    return lambda stage: stopped(which(stage))


def silence(*, out: bool, into: bool) -> Act:
    """The links of the active are silent: what it sends, what it is sent, or both."""

    @contextlib.asynccontextmanager
    async def act(stage: Stage) -> AsyncIterator[Struck]:
        links = _links(stage)
        yield _at(await links.silence(stage.active.name, out=out, into=into))
        await links.heal()

    return act


@contextlib.asynccontextmanager
async def delayed(stage: Stage) -> AsyncIterator[Struck]:
    links = _links(stage)
    yield _at(await links.delay(stage.active.name, DELAY_MS))
    await links.heal()


@contextlib.asynccontextmanager
async def broken(stage: Stage) -> AsyncIterator[Struck]:
    yield _at(await _links(stage).break_all(stage.active.name))


def _at(ms: float) -> Struck:
    return Struck(ms, ms)


def _links(stage: Stage) -> Links:
    assert stage.links is not None, "a fault on links asks for them"
    return stage.links


@contextlib.asynccontextmanager
async def clock_jumped(stage: Stage) -> AsyncIterator[Struck]:
    handle = os.pidfd_open(stage.active.pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGUSR2)
        yield _at(monotonic_ms())
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGUSR2)
    finally:
        os.close(handle)


@contextlib.asynccontextmanager
async def store_away(stage: Stage) -> AsyncIterator[Struck]:
    async with stage.store.away():
        yield _at(monotonic_ms())


@contextlib.asynccontextmanager
async def store_and_active(stage: Stage) -> AsyncIterator[Struck]:
    async with stage.store.struck():
        yield await killed(stage.active.pid)


def _active(stage: Stage) -> int:
    return stage.active.pid


def _standby(stage: Stage) -> int:
    return stage.standby.pid


def _media(stage: Stage) -> int:
    return stage.media_pid


def _nobody(stage: Stage) -> None:
    return None


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill", "kill -9 of an active", kill(_active)),
        Fault(
            "hang", "an active stands still for 5 s, then goes on", hang(_active), lasts_ms=5_000
        ),
        Fault("kill-standby", "kill -9 of a standby", kill(_standby), victim=_nobody),
        Fault(
            "hang-standby",
            "a standby stands still for 5 s, then goes on",
            hang(_standby),
            victim=_nobody,
            lasts_ms=5_000,
        ),
        Fault(
            "in-a-row",
            "kill -9 of every node, one after the other",
            kill(lambda stage: stage.turn.pid),
            victim=lambda stage: stage.turn,
            in_a_row=True,
        ),
        Fault(
            "media",
            "kill -9 of the media server",
            kill(_media),
            victim=_nobody,
            takes_audio=True,
        ),
        Fault(
            "media-active",
            "kill -9 of the media server and an active together",
            kill(_active, _media),
            takes_audio=True,
        ),
        Fault(
            "cut",
            "all links of an active are silent for 5 s, both ways",
            silence(out=True, into=True),
            lasts_ms=5_000,
            on_links=True,
        ),
        Fault(
            "cut-out",
            "nothing that an active sends arrives for 5 s; it hears the others",
            silence(out=True, into=False),
            lasts_ms=5_000,
            on_links=True,
        ),
        Fault(
            "cut-in",
            "an active hears nothing for 5 s; the others hear it",
            silence(out=False, into=True),
            victim=_nobody,
            lasts_ms=5_000,
            on_links=True,
        ),
        Fault(
            "break",
            "every connection of an active is reset, and may be made again",
            broken,
            victim=_nobody,
            on_links=True,
        ),
        Fault(
            "delay",
            f"all links of an active take {DELAY_MS} ms more each way for 5 s",
            delayed,
            victim=_nobody,
            lasts_ms=5_000,
            on_links=True,
        ),
        Fault(
            "clock",
            "the wall clock of an active is an hour ahead for 5 s",
            clock_jumped,
            victim=_nobody,
            lasts_ms=5_000,
            on_clock=True,
        ),
        Fault(
            "store",
            "the coordination store takes no change for 2 s",
            store_away,
            victim=_nobody,
            lasts_ms=2_000,
        ),
        Fault(
            "store-active",
            "kill -9 of an active and of the store's leader together (a store without one takes "
            "no change for 500 ms)",
            store_and_active,
            lasts_ms=500,
        ),
    )
}
"""By name."""

GROUPS = {"cut-one-way": ("cut-out", "cut-in"), "all": tuple(FAULTS)}
"""Names for several faults."""


def named(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, each once, in their own order. KeyError: the name of none."""
    wanted = [one for name in names for one in GROUPS.get(name, (name,))]
    for name in wanted:
        if name not in FAULTS:
            raise KeyError(name)
    return [fault for name, fault in FAULTS.items() if name in wanted]
