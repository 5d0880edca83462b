"""Media verbs: what a call wants from its media server, as a value.

A `Session` is the whole wanted state of one call's audio. A verb takes a session and gives the
next one, with the counter raised by one; a driver's `apply` makes it so. Every command *sets*,
none adds: repeating one, skipping one or re-sending the last after a takeover ends in the same
place. A media server orders what it is sent by (epoch, counter) and never goes back.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

MAX_LEGS = 8
"""Legs of one session; the embedded server refuses more with "overload"."""

MAX_EVENTS = 32
"""Unacknowledged events kept for one session; beyond, the oldest digit is forgotten first."""


class File(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="file"):
    """A sound by name. `play` names this playing of it: `PlayEnded` carries it; a loop never ends.

    All who hear one looping file hear the same place of it. `then` names the loop that is heard
    from the end on: without it there is silence until `PlayEnded` was heard of and answered, which
    a takeover delays. Where there is no such sound, silence follows.
    """

    name: str
    loop: bool
    play: int
    then: str = ""


class Party(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="party"):
    """What another leg of the same session says. A leg that is not there is silent."""

    leg: str


Source = File | Party


class Leg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One phone and what it hears; several sources are mixed.

    `remote` is the phone's SDP, "" while there is none. `offers`: we offer, `remote` is its answer.
    `version` is the o= version of our SDP. `port` 0: any; else exactly that one.
    """

    name: str
    remote: str = ""
    offers: bool = False
    version: int = 1
    hears: tuple[Source, ...] = ()
    port: int = 0


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The wanted state of one call. Events up to number `seen` are known to whoever commands.

    `record` names the recording, "" for none: left what the first leg says, right what it hears.
    """

    id: str
    shard: str
    epoch: int
    counter: int = 0
    seen: int = 0
    legs: tuple[Leg, ...] = ()
    record: str = ""


class Applied(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of a session: our SDP and our port by leg."""

    session: str
    counter: int
    sdps: dict[str, str]
    ports: dict[str, int]


class PlayEnded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="play_ended"):
    """Playing number `play` came to its end. `n` numbers the events of a session."""

    session: str
    n: int
    play: int


class Digit(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="digit"):
    """The phone of `leg` sent one of 0-9 * # A-D (RFC 4733)."""

    session: str
    n: int
    leg: str
    digit: str


Event = PlayEnded | Digit

Reason = Literal["old_epoch", "bad_sdp", "not_acceptable", "no_ports", "no_file", "overload"]


class MediaError(Exception):
    """A media server did not do it. Asking again is safe: every command sets a value."""


class Refused(MediaError):
    """The media server answered no; what it did before still stands.

    old_epoch: a newer active commands this shard. bad_sdp, not_acceptable: the leg's `remote`
    (answer 400, 488). no_ports, overload: try later (503). no_file: a sound that is not there.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unreachable(MediaError):
    """No answer: not connected, the connection broke, or the deadline passed."""


class UnknownLeg(MediaError):
    """A verb names a leg that the session does not have."""


def leg_of(session: Session, name: str) -> Leg | None:
    """The leg of that name."""
    return next((leg for leg in session.legs if leg.name == name), None)


def answer(session: Session, leg: str, sdp: str) -> Session:
    """Answer the offer `sdp` of `leg`, which is new, or offers again for the first time."""
    known = leg_of(session, leg)
    if known is not None:
        return repoint(session, leg, sdp)
    return _next(session, (*session.legs, Leg(leg, sdp)))


def offer(session: Session, leg: str) -> Session:
    """Make an offer for `leg`: a new leg, or a re-INVITE of ours with the next SDP version."""
    known = leg_of(session, leg)
    if known is None:
        return _next(session, (*session.legs, Leg(leg, offers=True)))
    version = known.version if known.offers and not known.remote else known.version + 1
    return _with(session, leg, lambda old: replace(old, offers=True, version=version))


def connect(session: Session, a: str, b: str, *, remote: str | None = None) -> Session:
    """Let `a` and `b` hear each other and nothing else. `remote` is the SDP that `b` answered."""

    def joined(old: Leg) -> Leg:
        if old.name == a:
            return replace(old, hears=(Party(b),))
        return replace(old, hears=(Party(a),), remote=old.remote if remote is None else remote)

    return _with(session, (a, b), joined)


def play(
    session: Session, leg: str, file: str, *, loop: bool, play: int, then: str = ""
) -> Session:
    """Let `leg` hear `file` and nothing else; `then`, looped, once it has ended."""
    return _hears(session, leg, File(file, loop, play, then))


def stop(session: Session, leg: str) -> Session:
    """Let `leg` hear nothing."""
    return _hears(session, leg)


def hold(session: Session, leg: str, music: str) -> Session:
    """`leg` holds: it hears nothing, all others hear `music`, looped."""
    sound = File(music, loop=True, play=0)
    return _every(session, lambda old: replace(old, hears=() if old.name == leg else (sound,)))


def resume(session: Session) -> Session:
    """Let everyone hear everyone else."""
    return mix(session, *(leg.name for leg in session.legs))


def repoint(session: Session, leg: str, sdp: str) -> Session:
    """The phone of `leg` re-INVITEs with `sdp`. The same offer again: the same answer."""

    def pointed(old: Leg) -> Leg:
        if old.remote == sdp and not old.offers:
            return old
        return replace(old, remote=sdp, offers=False, version=old.version + 1)

    return _with(session, leg, pointed)


def answered(session: Session, leg: str, sdp: str) -> Session:
    """The phone of `leg` answered our offer with `sdp`."""
    return _with(session, leg, lambda old: replace(old, remote=sdp))


def record(session: Session, name: str) -> Session:
    """Record to `name`, a plain file name; "" ends the recording."""
    return replace(session, counter=session.counter + 1, record=name)


def listen(session: Session, leg: str, *to: str) -> Session:
    """Let `leg` hear the parties `to`, mixed, unheard by them."""
    return _hears(session, leg, *(Party(name) for name in to))


def mix(session: Session, *legs: str) -> Session:
    """Let each of `legs` hear all the others of them."""

    def mixed(old: Leg) -> Leg:
        return replace(old, hears=tuple(Party(name) for name in legs if name != old.name))

    return _with(session, legs, mixed)


def remove(session: Session, leg: str) -> Session:
    """Take `leg` away; nobody hears it any more. No matter if it is not there."""
    return _next(
        session,
        tuple(
            replace(old, hears=tuple(source for source in old.hears if source != Party(leg)))
            for old in session.legs
            if old.name != leg
        ),
    )


def settled(session: Session, applied: Applied) -> Session:
    """The session with the ports it was given, so that a new media server opens the same ones.

    The counter stays: nothing else is wanted than before.
    """
    return replace(
        session,
        legs=tuple(
            replace(leg, port=applied.ports.get(leg.name, leg.port)) for leg in session.legs
        ),
    )


def _hears(session: Session, leg: str, *sources: Source) -> Session:
    return _with(session, leg, lambda old: replace(old, hears=sources))


def _with(session: Session, names: str | tuple[str, ...], change: Callable[[Leg], Leg]) -> Session:
    wanted = (names,) if isinstance(names, str) else names
    for name in wanted:
        if leg_of(session, name) is None:
            raise UnknownLeg(f"session {session.id} has no leg {name}")
    return _every(session, lambda old: change(old) if old.name in wanted else old)


def _every(session: Session, change: Callable[[Leg], Leg]) -> Session:
    return _next(session, tuple(change(leg) for leg in session.legs))


def _next(session: Session, legs: tuple[Leg, ...]) -> Session:
    return replace(session, counter=session.counter + 1, legs=legs)
