"""In which order a shard's address moves to its new active on one host (the `bind` driver).

The compare-and-set is won before any of this begins: nobody else may lead the shard's epoch. The
old active is asked to let go. One that does not answer and is not stopped may be starved, or cut
off and about to learn from the store that it leads no more: what counts is whether it still holds
the address. If it does after a while, and the store still names us, its process is ended; then the
address is bound. An address that is still in use is searched for: an older active
may have been left behind by a takeover that was itself cut short.
"""

from dataclasses import dataclass

from cluster.store import Process

RELEASE_MS = 50
"""The old active has so long to let go of the address."""
HANDED_ASKS = 20
"""An old active that handed the shard over was well a moment ago: if it does not answer it is
starved, and it is asked so many times more before anything is done to it."""
BIND_TRIES = 40
BIND_AGAIN_MS = 10
WAIT_TRIES = 15
"""And so many tries to bind more if it is not stopped. One that is cut off from all others asks the
store 300 ms after it heard the last of them, 50 ms or less after it was suspected."""
SEARCH_AFTER = 3
"""So many tries before the holder is looked for."""
SEARCHES = 3
"""How often the holder of an address in use is looked for, in one move."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Ask the process to let go, for RELEASE_MS. Then: Released, Gone, Alive, Silent or Stopped."""

    process: Process
    searches: int = 0
    again: int = 0
    """It is asked so many times more."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Bind, if the process has let go by itself. Then: Bound or InUse."""

    process: Process
    searches: int = 0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """End the process, after its start time and incarnation were compared. Then: Gone, NotEnded."""

    process: Process
    searches: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """Bind. Then: Bound or InUse."""

    tries: int = 0
    searches: int = 0


@dataclass(frozen=True, slots=True)
class Searching:
    """Find which process of ours holds the address. Then: Held or NotHeld."""

    searches: int


@dataclass(frozen=True, slots=True)
class Moved:
    """The address is ours."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The address is in use by something that is not ours, or that we may not end."""

    reason: str


State = Asking | Waiting | Ending | Binding | Searching | Moved | Failed


@dataclass(frozen=True, slots=True)
class Released:
    """It has let go."""


@dataclass(frozen=True, slots=True)
class Silent:
    """It did not answer in time, and runs elsewhere, or was this very node."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The kernel says that it stands still: it cannot answer until somebody continues it."""


@dataclass(frozen=True, slots=True)
class Alive:
    """It did not answer in time, and is not stopped."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Its process runs no more."""


@dataclass(frozen=True, slots=True)
class NotEnded:
    """It runs elsewhere, we may not end it, or the store does not say that we still lead."""


@dataclass(frozen=True, slots=True)
class Bound:
    """It worked."""


@dataclass(frozen=True, slots=True)
class InUse:
    """Somebody holds the address."""


@dataclass(frozen=True, slots=True)
class Held:
    """By this process of ours."""

    process: Process


@dataclass(frozen=True, slots=True)
class NotHeld:
    """By none of ours."""


Outcome = Released | Silent | Stopped | Alive | Gone | NotEnded | Bound | InUse | Held | NotHeld


def begin(old: Process | None, *, me: Process, handed: bool = False) -> State:
    """`old`: the process of the old active, None if there was none or it is unknown; `handed`: it
    asked for this itself."""
    if old is None or (old.node, old.incarnation) == (me.node, me.incarnation):
        return Binding()
    return Asking(old, again=HANDED_ASKS if handed else 0)


def step(state: State, outcome: Outcome) -> State:
    """What comes next. Ends in Moved or Failed after a bounded number of steps."""
    match state, outcome:
        case Asking(_, searches), Released() | Gone():
            return Binding(0, searches)
        case Asking(process, searches, again), Silent() | Alive() if again:
            return Asking(process, searches, again - 1)
        case Asking(process, searches), Alive():
            return Waiting(process, searches)
        case Asking(process, searches), Silent() | Stopped():
            return Ending(process, searches)
        case Waiting(), Bound():
            return Moved()
        case Waiting(process, searches, tries), InUse():
            if tries + 1 < WAIT_TRIES:
                return Waiting(process, searches, tries + 1)
            return Ending(process, searches)
        case Ending(_, searches), Gone() | NotEnded():
            return Binding(0, searches)
        case Binding(), Bound():
            return Moved()
        case Binding(tries, searches), InUse():
            if tries + 1 < BIND_TRIES:
                # A process that ended has freed its sockets by then; one that lives has not.
                if tries + 1 == SEARCH_AFTER and searches < SEARCHES:
                    return Searching(searches + 1)
                return Binding(tries + 1, searches)
            return Failed("address in use")
        case Searching(searches), Held(process):
            return Asking(process, searches)
        case Searching(searches), NotHeld():
            return Binding(SEARCH_AFTER, searches)
        case _:
            raise AssertionError((state, outcome))
