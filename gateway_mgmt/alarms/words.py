"""Alarms in words: the thing, the fact, what it hits, and the next action."""

from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from gateway_mgmt.alarms.kinds import CLEARED
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.trunks import Impact


class Callers(Protocol):
    """Counts who would notice; `node` knows the calls."""

    async def __call__(self, impact: Impact) -> int | None:
        """Live callers on these trunks, numbers and queues; None: nobody can tell now."""


class Message(NamedTuple):
    """A notice as it leaves, with what is counted just then."""

    notice: Notice
    callers: int | None = None


class Words(NamedTuple):
    fact: str
    action: str
    cause: str = "other"
    """The probable cause of IANA-ITU-ALARM-TC."""


WORDS = {
    "unreachable": Words(
        "answers neither SNMP nor SIP",
        "check its power and its network",
        "connectionEstablishmentError",
    ),
    "sip_down": Words("answers no SIP", "check its SIP service", "connectionEstablishmentError"),
    "reboot": Words("has restarted", "look into its log for the reason"),
    "out_of_service": Words("is out of service", "put it in service, if nobody took it out"),
    "los": Words("receives no signal", "check cable and far end", "lossOfSignal"),
    "lof": Words("finds no frames", "compare framing at both ends", "lossOfFrame"),
    "ais": Words("receives an alarm indication signal", "call the carrier: upstream fails", "aIS"),
    "rai": Words(
        "hears that the far end receives nothing good",
        "check the sending direction, then call the carrier",
        "remoteAlarmInterface",
    ),
    "tx_rai": Words("tells the far end that it receives nothing good", "check what it receives"),
    "tx_ais": Words("sends an alarm indication signal", "check its own state"),
    "ts16_ais": Words("receives AIS in time slot 16", "call the carrier", "aIS"),
    "ts16_lomf": Words(
        "finds no multiframe", "compare the signalling of both ends", "lossOfMultiFrame"
    ),
    "tx_lomf": Words("tells of a lost multiframe", "check what it receives", "lossOfMultiFrame"),
    "payload_ais": Words("receives AIS as its payload", "call the carrier", "aIS"),
    "loopback": Words("is looped", "end the loop if nobody tests"),
    "test_code": Words("receives a test code", "ask the carrier whether he tests"),
    "other_fault": Words("has a fault that it does not name", "look at the gateway"),
    "unavailable": Words("has been bad for ten seconds", "measure the line", "unavailable"),
    "errored_seconds": Words("has too many errored seconds", "measure the line", "excessiveBER"),
    "d_channel_down": Words("has no D channel", "check signalling at both ends", "receiveFailure"),
    "trunk_busy": Words("has no free channel", "look for what holds the calls, or add channels"),
}


def words_of(condition: str) -> Words:
    return WORDS.get(condition, Words(f"reports {condition}", "look at the gateway"))


def perceived(notice: Notice) -> str:
    """The severity as X.733 has it: an alarm that is over is `cleared`."""
    return CLEARED if notice.what == "cleared" else notice.severity


def headline(notice: Notice) -> str:
    """The thing and the fact."""
    fact = words_of(notice.condition).fact
    match notice.what:
        case "cleared":
            return f"{notice.path}: over: {fact}"
        case "flapping":
            return f"{notice.path}: on and off: {fact}"
        case _:
            return f"{notice.path}: {fact}"


def hits(message: Message) -> str:
    """What the alarm hits; empty: nothing that is known."""
    hit = message.notice.impact
    parts = [
        f"{name} {', '.join(values)}"
        for name, values in (
            ("trunks", hit.trunks),
            ("numbers", hit.numbers),
            ("queues", hit.queues),
        )
        if values
    ]
    if message.callers is not None:
        parts.append(f"{message.callers} live callers")
    return "; ".join(parts)


def sentence(message: Message) -> str:
    """All of it in a line."""
    parts = [headline(message.notice)]
    if hit := hits(message):
        parts.append(f"Hits {hit}")
    if message.notice.what != "cleared":
        parts.append(f"Next: {words_of(message.notice.condition).action}")
    return ". ".join(parts)


def moment(wall_ms: int) -> str:
    """As RFC 3339 has it, in ms."""
    at = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
