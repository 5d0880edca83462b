"""What a simulation is asked to do, and how the command line writes it."""

import re

import msgspec

from sip.uri import Address

AGENTS_MAX = 5_000
"""Phones of one process; each has a UDP port."""


class BadOption(ValueError):
    """An option that cannot be understood; says which and why."""


class Span(msgspec.Struct, frozen=True):
    """A time drawn evenly between two bounds, in ms."""

    min_ms: int
    max_ms: int


class AgentAddress(msgspec.Struct, frozen=True):
    """An agent and where his phone listens."""

    name: str
    address: Address


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation. Whoever has the same seed and the same options has the same people."""

    target: Address = ("127.0.0.1", 5060)
    """Where callers' INVITEs go; any SIP server."""
    numbers: tuple[str, ...] = ()
    """Dialled in turn."""
    calls: int = 0
    rate: float = 10.0
    """Calls a second."""
    agents: tuple[AgentAddress, ...] = ()
    talk: Span = Span(3_000, 8_000)
    patience: Span = Span(120_000, 120_000)
    ring: Span = Span(200, 1_000)
    """An agent picks up, or declines, after so long."""
    hangup: str = "random"
    """Who ends a talk: "caller", "agent" or "random"."""
    absent: int = 0
    """So many agents, the last of the list, have no phone at their address."""
    busy: int = 0
    """So many agents before these have their phone off the hook: 486 to everything."""
    decline_rate: float = 0.0
    """The part of offers that agents decline, with 486, 603 or 480."""
    ignore_rate: float = 0.0
    """The part of offers that agents let ring."""
    hold_rate: float = 0.0
    """The part of talks in which one side holds for a while."""
    digits: str = ""
    """Every caller presses these."""
    offerless_rate: float = 0.0
    """The part of calls whose INVITE has no SDP."""
    scenario: str = ""
    """A named mix instead of drawn people, e.g. "talking=100,ringing=20,waiting=100"."""
    seed: int = 1
    rtp: bool = True
    address: str = "127.0.0.1"
    """Where the callers' phones, and everybody's RTP, are."""
    rtp_ports: tuple[int, int] = (40_000, 59_999)
    first_voice: int = 0
    """Number of the first voice: different in simulations that run together."""
    duration_s: float | None = None
    """Then everybody hangs up. Without it the run ends with its last call; without calls: never."""
    log: str = ""
    """File for the facts; "" for none."""
    control: str = ""
    """Path of a Unix-domain socket to command the run by; "" for none."""
    stdin: bool = False
    """Commands come on standard input, too; its end ends the run."""


def span(text: str) -> Span:
    """ "5", "3-8" (seconds), "250ms" or "100-300ms". Raises BadOption."""
    found = re.fullmatch(r"([0-9.]+)(?:-([0-9.]+))?(ms|s)?", text.strip())
    try:
        if found is None:
            raise ValueError
        unit = 1 if found[3] == "ms" else 1_000
        low = round(float(found[1]) * unit)
        high = round(float(found[2]) * unit) if found[2] else low
    except ValueError:
        raise BadOption(f"{text!r} is no time: write 5, 3-8 (seconds) or 200-900ms") from None
    if high < low:
        raise BadOption(f"{text!r}: the second time is smaller than the first")
    return Span(low, high)


def address(text: str, default_port: int = 5060) -> Address:
    """ "127.0.0.1:5060", or without port. Raises BadOption; takes no names."""
    found = re.fullmatch(r"([0-9.]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?", text.strip())
    port = int(found[2]) if found is not None and found[2] else default_port
    if found is None or not 0 < port < 65_536:
        raise BadOption(f"{text!r} is no address: write HOST:PORT with a literal IP address")
    return found[1].strip("[]"), port


def agents(text: str) -> tuple[AgentAddress, ...]:
    """ "1001-1100@127.0.0.1:7001+" (each the next port), "1001@127.0.0.1:7001", or a list of such
    with commas. Raises BadOption.
    """
    out: list[AgentAddress] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        names, at, where = part.partition("@")
        if not at:
            raise BadOption(f"{part!r} is no agent: write NAME@HOST:PORT")
        host, port = address(where.removesuffix("+"))
        first, dash, last = names.partition("-")
        if not dash:
            out.append(AgentAddress(names, (host, port)))
            continue
        is_range = first.isdecimal() and last.isdecimal() and int(first) <= int(last)
        if not is_range or not where.endswith("+"):
            raise BadOption(f"{part!r} is no range: write 1001-1100@HOST:PORT+")
        count = int(last) - int(first) + 1
        if count > AGENTS_MAX or port + count > 65_536:
            raise BadOption(f"{part!r} is more than {AGENTS_MAX} agents or ports there are")
        width = len(first)
        out += [AgentAddress(f"{int(first) + n:0{width}d}", (host, port + n)) for n in range(count)]
    if len({agent.name for agent in out}) < len(out):
        raise BadOption(f"{text!r} names an agent twice")
    if len({agent.address for agent in out}) < len(out):
        raise BadOption(f"{text!r} gives an address twice")
    return tuple(out)
