"""What goes wrong with virtual gateways, and when: a line of text for each fault.

at 5s span 1/3 LOS             gateway 1, span 3
at 9s span 1/3 clear LOS
at 9s span 1/3 clear           all of its faults
at 10s span 2/1 d_channel down
at 12s gateway 4 dead          answers nothing; then: alive
at 15s gateway 4 reboot
"""

import re
from typing import NamedTuple

from gateway_mgmt.ds1 import STATUS_CONDITIONS

TIME = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)(ms|s|m)")
UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000}
SPAN = re.compile(r"(\d{1,5})/(\d{1,2})")
GATEWAY_WORDS = ("dead", "alive", "reboot")


class BadScript(ValueError):
    """Names the line and what is wrong with it."""


class Fault(NamedTuple):
    """`what`: a condition, clear, d_channel, dead, alive or reboot."""

    at_ms: int
    gateway: int
    span: int
    """0: the gateway as a whole."""
    what: str
    is_on: bool = True
    written: str = ""


def read_script(text: str, *, gateways: int, spans: int) -> list[Fault]:
    """In the order of their times. Raises BadScript."""
    found: list[Fault] = []
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        try:
            found.append(read_line(written, gateways=gateways, spans=spans))
        except BadScript as error:
            raise BadScript(f"line {number}: {error}") from None
    return sorted(found, key=lambda fault: fault.at_ms)


def read_line(written: str, *, gateways: int, spans: int) -> Fault:
    """One fault; without a time it is of now. Raises BadScript."""
    words = written.split()
    at_ms = 0
    if words[:1] == ["at"]:
        when = TIME.fullmatch(words[1]) if len(words) > 1 else None
        if when is None:
            raise BadScript(f"{' '.join(words[1:2])!r} is no time like 5s or 250ms")
        at_ms = round(float(when[1]) * UNIT_MS[when[2]])
        words = words[2:]
    match [words[0].lower() if words else "", *words[1:]]:
        case ["span", who, *rest]:
            place = SPAN.fullmatch(who)
            if place is None:
                raise BadScript(f"{who!r} is no span; write GATEWAY/SPAN, like 1/3")
            gateway, span = int(place[1]), int(place[2])
            if not (1 <= gateway <= gateways and 1 <= span <= spans):
                raise BadScript(f"there is no span {who}: {gateways} gateways of {spans} spans")
            what, is_on = _span_words([word.lower() for word in rest])
            return Fault(at_ms, gateway, span, what, is_on, written)
        case ["gateway", who, what] if what.lower() in GATEWAY_WORDS:
            if not (who.isdecimal() and 1 <= int(who) <= gateways):
                raise BadScript(f"there is no gateway {who}: there are {gateways}")
            return Fault(at_ms, int(who), 0, what.lower(), True, written)
    raise BadScript(
        "write span 1/3 LOS, span 1/3 clear, span 1/3 d_channel down, "
        "gateway 1 dead, gateway 1 alive or gateway 1 reboot"
    )


def _span_words(words: list[str]) -> tuple[str, bool]:
    match words:
        case ["clear"]:
            return "clear", True
        case ["clear", fault] if fault in STATUS_CONDITIONS:
            return fault, False
        case ["d_channel", "down" | "up" as way]:
            return "d_channel", way == "down"
        case [fault] if fault in STATUS_CONDITIONS:
            return fault, True
    known = ", ".join(STATUS_CONDITIONS)
    raise BadScript(f"{' '.join(words)!r} is no fault; known: {known}, d_channel down, clear")
