"""What a device is asked, and what its answers say: plain data, whatever asked for it.

A device that answers in part counts: what is missing is missing, the rest is read.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from gateway_mgmt import ds1, oids
from gateway_mgmt.access import User
from gateway_mgmt.ds1 import Counters, Row
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.profile import Profile
from gateway_mgmt.snmp.pdu import Value

ROWS_AT_ONCE = 12
"""Intervals that are read of a device in one poll: after an outage a few polls fill the gap."""

Values = Mapping[str, Value]


class SpanReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line at one moment. None: it was not told."""

    status: int | None = None
    loopback: int | None = None
    elapsed_s: int | None = None
    intervals: int = 0
    changed_ticks: int | None = None
    current: Counters | None = None
    own: dict[str, int] = {}
    """What only this vendor's devices tell, by the names of the profile."""


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device at one moment."""

    device: str
    at_ms: int
    uptime_ticks: int | None = None
    name: str = ""
    object_id: str = ""
    boots: int | None = None
    engine_id: str = ""
    """In hexadecimal digits; empty for SNMPv2c."""
    spans: dict[int, SpanReading] = {}
    interfaces: dict[int, dict[str, int]] = {}
    scalars: dict[str, int | str] = {}
    asked: int = 0
    missing: int = 0
    """So many of the asked values did not come."""


def questions(device: Device, profile: Profile) -> list[str]:
    """Every OID of a poll; `oids.SYS_UPTIME` is the first."""
    found = [*oids.SYSTEM]
    if isinstance(device.access, User):
        found += [oids.ENGINE_ID, oids.ENGINE_BOOTS]
    for number, span in device.spans.items():
        if profile.ds1:
            found += [f"{oid}.{span.index}" for oid in oids.LINE.values()]
            found += [f"{oid}.{span.index}" for oid in oids.CURRENT.values()]
        found += [own_oid(profile, name, number, span) for name in profile.spans]
    if profile.interfaces:
        for index in watched(device):
            found += [f"{oid}.{index}" for oid in oids.INTERFACE.values()]
    return found + list(profile.scalars.values())


def watched(device: Device) -> list[int]:
    """The ifIndexes of a device."""
    return list(dict.fromkeys([*(s.index for s in device.spans.values()), *device.interfaces]))


def own_oid(profile: Profile, name: str, number: int, span: Span) -> str:
    column = profile.spans[name]
    row = span.index if column.first is None else column.first + number - 1
    return f"{column.oid}.{row}" if column.then is None else f"{column.oid}.{row}.{column.then}"


def chunks(asked: Sequence[str], profile: Profile) -> Iterator[Sequence[str]]:
    """As many as go into one request."""
    for at in range(0, len(asked), profile.max_varbinds):
        yield asked[at : at + profile.max_varbinds]


def read(name: str, device: Device, profile: Profile, values: Values, at_ms: int) -> Reading:
    """What the answers say. A value of another kind than it should be is missing."""

    def number(oid: str) -> int | None:
        value = values.get(oid)
        return value if isinstance(value, int) else None

    def line(at: int, span: Span) -> SpanReading:
        told = {field: number(f"{oid}.{span.index}") for field, oid in oids.LINE.items()}
        counted = {field: number(f"{oid}.{span.index}") for field, oid in oids.CURRENT.items()}
        current = {field: value for field, value in counted.items() if value is not None}
        own = {one: number(own_oid(profile, one, at, span)) for one in profile.spans}
        return SpanReading(
            status=told["status"],
            loopback=told["loopback"],
            elapsed_s=elapsed_s(told["elapsed_s"]),
            intervals=told["intervals"] or 0,
            changed_ticks=told["changed_ticks"],
            current=Counters(**current) if current else None,
            own={one: value for one, value in own.items() if value is not None},
        )

    asked = questions(device, profile)
    ports = {
        index: {field: number(f"{oid}.{index}") for field, oid in oids.INTERFACE.items()}
        for index in (watched(device) if profile.interfaces else ())
    }
    engine_id = values.get(oids.ENGINE_ID)
    scalars = {one: in_words(values.get(oid)) for one, oid in profile.scalars.items()}
    return Reading(
        device=name,
        at_ms=at_ms,
        uptime_ticks=number(oids.SYS_UPTIME),
        name=str(in_words(values.get(oids.SYS_NAME)) or ""),
        object_id=str(in_words(values.get(oids.SYS_OBJECT_ID)) or ""),
        boots=number(oids.ENGINE_BOOTS),
        engine_id=engine_id.hex() if isinstance(engine_id, bytes) else "",
        spans={at: line(at, span) for at, span in device.spans.items()},
        interfaces={
            index: {field: value for field, value in port.items() if value is not None}
            for index, port in ports.items()
        },
        scalars={one: value for one, value in scalars.items() if value is not None},
        asked=len(asked),
        missing=sum(values.get(oid) is None for oid in asked),
    )


def elapsed_s(told: int | None) -> int | None:
    """dsx1TimeElapsed (RFC 4805) is of the running 15 minutes; more is nonsense, and missing."""
    return told if told is not None and 0 <= told <= ds1.INTERVAL_S else None


def in_words(value: Value) -> int | str | None:
    """Bytes as text; what a device may say is shortened to what a person reads."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")[:255]
    return value


def wanted_rows(
    device: Device,
    profile: Profile,
    reading: Reading,
    known_ms: Mapping[int, Collection[int]],
) -> list[tuple[int, int]]:
    """(span, interval) to read now: the newest of each, which decides, then the oldest, for they go
    first. `known_ms`: the starts we have, by span."""
    wanted: list[tuple[int, int]] = []
    for number in device.spans:
        span = reading.spans[number]
        if profile.intervals and span.elapsed_s is not None:
            found = ds1.missing(
                known_ms.get(number, ()),
                intervals=min(span.intervals, profile.intervals),
                read_at_ms=reading.at_ms,
                elapsed_s=span.elapsed_s,
            )
            wanted += [(number, interval) for interval in found]
    wanted.sort(key=lambda one: (one[1] != 1, -one[1]))
    return wanted[:ROWS_AT_ONCE]


def row_questions(device: Device, wanted: Sequence[tuple[int, int]]) -> list[str]:
    return [
        f"{oid}.{device.spans[number].index}.{interval}"
        for number, interval in wanted
        for oid in (*oids.INTERVAL.values(), oids.INTERVAL_VALID)
    ]


def read_rows(
    device: Device, reading: Reading, wanted: Sequence[tuple[int, int]], values: Values
) -> list[tuple[int, Row]]:
    """(span, row). `reading`: the poll that the intervals were numbered by."""
    rows: list[tuple[int, Row]] = []
    for number, interval in wanted:
        end = f"{device.spans[number].index}.{interval}"
        counted = {name: values.get(f"{oid}.{end}") for name, oid in oids.INTERVAL.items()}
        found = {name: value for name, value in counted.items() if isinstance(value, int)}
        elapsed_s = reading.spans[number].elapsed_s
        if not found or elapsed_s is None:
            continue
        start_ms = ds1.start_of(interval, read_at_ms=reading.at_ms, elapsed_s=elapsed_s)
        # dsx1IntervalValidData is a TruthValue, and not there in the older revision of the MIB.
        is_valid = values.get(f"{oids.INTERVAL_VALID}.{end}") != 2
        rows.append((number, Row(start_ms, Counters(**found), is_valid)))
    return rows
