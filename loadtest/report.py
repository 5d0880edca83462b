"""What a simulation tells of itself: while it runs, and when it has ended."""

import msgspec

from loadtest.figures import Figures
from loadtest.verdict import Verdict


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulation went. `verdict` is what matters; the rest tells how far to trust it."""

    verdict: Verdict
    seed: int
    seconds: float
    cpu_seconds: float
    late_ms_max: float
    """How late the RTP clock was, at most."""
    frames_skipped: int
    nice: int
    sip: dict[str, int]
    """Counters of the transaction layers, added up."""
    figures: Figures
    rtp_received: int
    rtp_strays: int
    """RTP that came while a phone was in no call."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on now, as the phones see it."""

    ms: int
    dialling: int
    waiting: int
    talking: int
    over: int
    to_come: int
    agents_idle: int
    agents_ringing: int
    agents_talking: int
