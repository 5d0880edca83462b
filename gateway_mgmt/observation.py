"""What is seen of a gateway, a span or a channel: one condition, on or off or not known."""

import msgspec

CONDITIONS = frozenset(
    {
        "unreachable",
        "sip_down",
        "reboot",
        "out_of_service",
        "los",
        "lof",
        "ais",
        "rai",
        "tx_rai",
        "tx_ais",
        "ts16_ais",
        "ts16_lomf",
        "tx_lomf",
        "payload_ais",
        "loopback",
        "test_code",
        "other_fault",
        "unavailable",
        "errored_seconds",
        "d_channel_down",
        "trunk_busy",
    }
)

TRUNK = "trunk:"
"""The path of a trunk is this and its name: it lies across spans, not below one."""


class Observation(msgspec.Struct, frozen=True, gc=False):
    """A condition of the object at `path`, as it was read.

    Observations count in the order in which they arrive; what is read of one gateway arrives in the
    order in which it was read.
    """

    path: str
    """`tg1` a gateway, `tg1/3` a span of it, `tg1/3/17` a channel, `trunk:carrier-a` a trunk."""
    condition: str
    """One of CONDITIONS; one that only a newer version knows is an alarm too."""
    is_on: bool | None
    """None: not known, because nobody could ask. It changes nothing."""
    at_ms: int
    """Unix time, for people: clocks of nodes differ."""


def line_of(path: str) -> tuple[str, ...]:
    """The objects that `path` is part of, the gateway first and itself last."""
    parts = path.split("/")
    return tuple("/".join(parts[: end + 1]) for end in range(len(parts)))


def gateway_of(path: str) -> str:
    return path.partition("/")[0]


def is_within(path: str, outer: str) -> bool:
    """Is `path` the object `outer`, or a part of it?"""
    return path == outer or path.startswith(f"{outer}/")
