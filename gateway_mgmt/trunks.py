"""Trunks: what call routing may use of them, and what hangs on them."""

from collections.abc import Iterable, Mapping

import msgspec

from gateway_mgmt.observation import TRUNK, is_within

IN, PARTIAL, OUT = "in", "partial", "out"


class Trunk(msgspec.Struct, frozen=True):
    """A trunk as it is declared."""

    spans: dict[str, int]
    """Channels of each span, by its path."""
    carrier: str = ""
    numbers: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


class TrunkState(msgspec.Struct, frozen=True):
    """What call routing may use of a trunk; sent to every shard of calls when it changes."""

    trunk: str
    state: str
    """`in`, `partial` (some of its channels are left) or `out`."""
    channels: int
    """Of so many calls may be made use of at once."""
    of: int
    """So many there are if all is well."""
    why: tuple[str, ...] = ()
    """What is out, as `condition@path`."""
    order: int = 0
    """Grows with each change, over takeovers too."""


def is_news(known: TrunkState | None, told: TrunkState) -> bool:
    """Does it count beside what is known of the trunk? A repeat, or an older state, does not."""
    return known is None or known.order < told.order


def trunk_state(name: str, trunk: Trunk, out: Mapping[str, Iterable[str]]) -> TrunkState:
    """The state of a trunk when these objects are out of routing, each for these reasons."""
    channels = 0
    why: list[str] = []
    for span in sorted(trunk.spans):
        gone = [path for path in (span.partition("/")[0], span) if path in out]
        if not gone:
            parts = (f"{span}/{number}" for number in range(1, 32))
            gone = [path for path in parts if path in out]
            channels += max(0, trunk.spans[span] - len(gone))
        why += [f"{reason}@{path}" for path in gone for reason in sorted(out[path])]
    of = sum(trunk.spans.values())
    state = IN if channels == of else PARTIAL if channels else OUT
    return TrunkState(name, state, channels, of, tuple(dict.fromkeys(why)))


class Impact(msgspec.Struct, frozen=True):
    """What an alarm hits."""

    trunks: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


def concerned(path: str, trunks: Mapping[str, Trunk]) -> tuple[str, ...]:
    """The trunks with something of `path` in them, or that it is."""
    if path.startswith(TRUNK):
        name = path.removeprefix(TRUNK)
        return (name,) if name in trunks else ()
    return tuple(
        name
        for name in sorted(trunks)
        if any(is_within(path, span) or is_within(span, path) for span in trunks[name].spans)
    )


def impact(names: Iterable[str], trunks: Mapping[str, Trunk]) -> Impact:
    """What hangs on these trunks."""
    hit = [(name, trunks[name]) for name in names]
    return Impact(
        tuple(name for name, _ in hit),
        tuple(sorted({number for _, trunk in hit for number in trunk.numbers})),
        tuple(sorted({queue for _, trunk in hit for queue in trunk.queues})),
    )
