"""What people and programs are shown of gateways, as JSON-able documents; docs/gateways.md names
the fields. Names stay, more may be added. A credential's reference may be shown, its value never
is here."""

from collections.abc import Mapping, Sequence

from msgspec.structs import asdict

from gateway_mgmt import ds1, slots
from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.documents import Document, at, counted
from gateway_mgmt.alarms.view import Shown
from gateway_mgmt.ds1 import INTERVALS_MAX, Counters, Row
from gateway_mgmt.inventory import Device, Span, slots_in_words
from gateway_mgmt.known import Known
from gateway_mgmt.observation import is_within
from gateway_mgmt.profile import Profile
from gateway_mgmt.reading import Reading, SpanReading

UP, PARTLY, DOWN, UNKNOWN, NOT_ASKED = "up", "partly", "down", "unknown", "not asked yet"
STATES = (DOWN, PARTLY, UNKNOWN, NOT_ASKED, UP)
"""The worst first."""
SEEN_ON = ("soaking", "raised")
"""States of an alarm whose condition was on when it was last seen."""
SUMMED = ("es", "ses", "sefs", "uas")
FRESH_MS = 5_000
"""An answer that is older than the last report by more than this is not of the last poll."""
PORT = {
    1: "up",
    2: "down",
    3: "testing",
    4: "unknown",
    5: "dormant",
    6: "not present",
    7: "lower down",
}
"""ifAdminStatus and ifOperStatus (RFC 2863)."""


def gateway(
    name: str,
    device: Device,
    profile: Profile | None,
    known: Known,
    alarms: Sequence[Shown],
    *,
    shard: str,
    epoch: int,
) -> Document:
    """A device's row. `alarms`: those of its shard, or only its own."""
    own = [one for one in alarms if is_within(one.path, name)]
    reading = known.reading
    word = state(device, known, own)
    is_current = word in (UP, PARTLY)
    return {
        "gateway": name,
        "shard": shard,
        "epoch": epoch,
        "site": device.site,
        "profile": device.profile,
        "title": profile.title if profile else "",
        "address": in_words(device.address),
        "sip": in_words(device.sip) if device.sip else "",
        "access": access(device.access),
        "poll_ms": device.poll_ms,
        "state": word,
        "trouble": known.trouble,
        "missed": known.missed,
        "reported_at": at(known.at_ms),
        "answered_at": at(reading.at_ms if reading else 0),
        "answered_wall_ms": reading.at_ms if reading else 0,
        "is_current": is_current,
        "uptime_s": uptime_s(reading),
        "name": reading.name if reading else "",
        "object_id": reading.object_id if reading else "",
        "engine_id": reading.engine_id if reading else "",
        "asked": reading.asked if reading else 0,
        "missing": reading.missing if reading else 0,
        "alarms": counted(own),
        "spans": [
            span(name, number, device, profile, known, own, is_current=is_current)
            for number in sorted(device.spans)
        ],
        "interfaces": [
            interface(index, values)
            for index, values in sorted((reading.interfaces if reading else {}).items())
        ],
        "scalars": dict(sorted(reading.scalars.items())) if reading else {},
    }


def state(device: Device, known: Known, own: Sequence[Shown]) -> str:
    """One word. `unknown`: the last poll could not tell; `partly`: it answered, but not all."""
    if not known.at_ms:
        return NOT_ASKED
    if any(one.condition == "unreachable" and one.state in SEEN_ON for one in own):
        return DOWN
    reading = known.reading
    if reading is None or known.missed:
        return UNKNOWN
    if known.trouble:
        return PARTLY if known.at_ms - reading.at_ms <= FRESH_MS else UNKNOWN
    untold = SpanReading()
    told = (reading.spans.get(number, untold) != untold for number in device.spans)
    return UP if all(told) else PARTLY


def span(
    name: str,
    number: int,
    device: Device,
    profile: Profile | None,
    known: Known,
    own: Sequence[Shown],
    *,
    is_current: bool,
) -> Document:
    """A line's row."""
    declared = device.spans[number]
    path = f"{name}/{number}"
    alarms = [one for one in own if is_within(one.path, path)]
    reading = known.reading.spans.get(number) if known.reading else None
    rows = known.rows.get(number, [])
    on = {one.condition for one in alarms if one.path == path and one.state in SEEN_ON}
    if reading and is_current:
        on |= conditions(reading, profile)
    found = sorted(on)
    out = {
        int(one.path.rpartition("/")[2])
        for one in alarms
        if one.condition == "out_of_service" and one.path.count("/") == 2
    }
    told = slots.states(declared, reading if is_current else None, found, out)
    return {
        "path": path,
        "index": declared.index,
        "trunk": declared.trunk,
        "conditions": found,
        "status": reading.status if reading else None,
        "slots": told,
        "channels": slots_in_words(declared.slots),
        "in_use": slots.in_use(declared, reading) if reading and is_current else None,
        "of": len(declared.slots),
        "d_channel": d_channel(declared, reading if is_current else None, found, profile),
        "alarms": counted(alarms),
        "current": current(reading),
        "last_15_minutes": last_interval(rows, known.reading, reading),
        "last_24_hours": sums(rows),
        "availability": availability(rows),
        "own": dict(sorted(reading.own.items())) if reading else {},
    }


def d_channel(
    declared: Span, reading: SpanReading | None, found: Sequence[str], profile: Profile | None
) -> str:
    """`up` and `down` if the device tells: DS1-MIB does not, a column of the profile may."""
    if not declared.d_channel:
        return "none"
    if reading is None:
        return "unknown"
    if "d_channel_down" in found:
        return "down"
    columns = profile.spans if profile else {}
    told = (columns[name].conditions.values() for name in reading.own if name in columns)
    return "up" if any("d_channel_down" in one for one in told) else "unknown"


def conditions(reading: SpanReading, profile: Profile | None) -> set[str]:
    """What a line's last answer says is wrong."""
    found: set[str] = set()
    if reading.status is not None:
        found |= ds1.conditions(reading.status, reading.loopback)
    for name, value in reading.own.items():
        column = profile.spans.get(name) if profile else None
        if column is not None and value in column.conditions:
            found.add(column.conditions[value])
    return found


def current(reading: SpanReading | None) -> Document | None:
    """The 15 minutes that have not ended."""
    if reading is None or reading.current is None:
        return None
    return {"elapsed_s": reading.elapsed_s, **summed([reading.current])}


def last_interval(
    rows: Sequence[Row], reading: Reading | None, span: SpanReading | None
) -> Document | None:
    """The newest 15 minutes that are whole, at the last answer."""
    if reading is None or span is None or span.elapsed_s is None:
        return None
    row = ds1.newest(rows, read_at_ms=reading.at_ms, elapsed_s=span.elapsed_s)
    if row is None:
        return None
    return {"from_at": at(row.start_ms), "is_valid": row.is_valid, **summed([row.counters])}


def sums(rows: Sequence[Row]) -> Document | None:
    """Of as many of the 96 intervals as are known."""
    kept = rows[-INTERVALS_MAX:]
    if not kept:
        return None
    return {"intervals": len(kept), **summed([row.counters for row in kept])}


def summed(counters: Sequence[Counters]) -> dict[str, int]:
    return {name: sum(getattr(one, name) for one in counters) for name in SUMMED}


def availability(rows: Sequence[Row]) -> Document | None:
    """ITU-T G.826, of the intervals of a day that the device calls valid."""
    found = ds1.availability(rows[-INTERVALS_MAX:])
    if not found.measured_s:
        return None
    return {**asdict(found), "percent": found.percent, "esr": found.esr, "sesr": found.sesr}


def interface(index: int, values: Mapping[str, int]) -> Document:
    worded = {
        name: PORT.get(values[name], "unknown") for name in ("admin", "oper") if name in values
    }
    return {"index": index, **values, **worded}


def uptime_s(reading: Reading | None) -> int | None:
    return None if reading is None or reading.uptime_ticks is None else reading.uptime_ticks // 100


def access(found: Community | User) -> Document:
    """References, never what they refer to."""
    version = "v2c" if isinstance(found, Community) else "v3"
    return {"version": version, **asdict(found)}


def in_words(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
