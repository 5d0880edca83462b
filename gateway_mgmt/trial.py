"""One look at a device through a profile: each field with what was told, and what the profile
should change. Pure; `gateway_mgmt.io.trial` asks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from gateway_mgmt import ds1, oids
from gateway_mgmt.access import User
from gateway_mgmt.documents import PORT
from gateway_mgmt.inventory import Device
from gateway_mgmt.profile import Profile
from gateway_mgmt.reading import Values, in_words, own_oid, questions, read, row_questions, watched
from gateway_mgmt.snmp.pdu import Value

NEWEST = 1
"""The interval that each span is asked for."""


class Field(NamedTuple):
    name: str
    """`spans.1.d_channel`"""
    oid: str


class Told(msgspec.Struct, frozen=True):
    field: str
    oid: str
    value: int | str | None
    """None: there is no such object, or no answer."""
    means: str


class Trial(msgspec.Struct, frozen=True):
    """What came of it."""

    fields: list[Told]
    advice: list[str]
    """What the profile should change: `field: what, and why`."""


def fields(device: Device, profile: Profile) -> list[Field]:
    """Every field of a poll, in its order, then an interval of each span."""
    found = [
        Field("uptime", oids.SYS_UPTIME),
        Field("name", oids.SYS_NAME),
        Field("object_id", oids.SYS_OBJECT_ID),
    ]
    if isinstance(device.access, User):
        found += [Field("engine_id", oids.ENGINE_ID), Field("engine_boots", oids.ENGINE_BOOTS)]
    for number, span in device.spans.items():
        at = f"spans.{number}"
        if profile.ds1:
            found += [Field(f"{at}.{one}", f"{oid}.{span.index}") for one, oid in oids.LINE.items()]
            found += [
                Field(f"{at}.now.{one}", f"{oid}.{span.index}") for one, oid in oids.CURRENT.items()
            ]
        found += [
            Field(f"{at}.{one}", own_oid(profile, one, number, span)) for one in profile.spans
        ]
    if profile.interfaces:
        for index in watched(device):
            found += [
                Field(f"interfaces.{index}.{one}", f"{oid}.{index}")
                for one, oid in oids.INTERFACE.items()
            ]
    found += [Field(f"scalars.{one}", oid) for one, oid in profile.scalars.items()]
    assert [one.oid for one in found] == questions(device, profile)
    if profile.ds1 and profile.intervals:
        names = [*oids.INTERVAL, "is_valid"]
        for number in device.spans:
            asked = row_questions(device, [(number, NEWEST)])
            found += [
                Field(f"spans.{number}.last_interval.{one}", oid)
                for one, oid in zip(names, asked, strict=True)
            ]
    return found


def probes(device: Device, profile: Profile) -> list[str]:
    """What the profile says that there is not: has it that after all?"""
    indexes = [span.index for span in device.spans.values()]
    found: list[str] = []
    if not profile.ds1:
        found += [f"{oids.LINE['status']}.{index}" for index in indexes]
    elif not profile.intervals:
        found += [f"{oids.INTERVAL['es']}.{index}.{NEWEST}" for index in indexes]
    if not profile.interfaces:
        found += [f"{oids.INTERFACE['oper']}.{index}" for index in indexes or [1]]
    return found


def judged(device: Device, profile: Profile, values: Values, *, most: int) -> Trial:
    """`most`: as many values are answered in one request."""
    asked = fields(device, profile)
    told = [
        Told(
            field.name,
            field.oid,
            shown(values.get(field.oid)),
            means(field, profile, values.get(field.oid)),
        )
        for field in asked
    ]
    return Trial(told, list(advice(device, profile, values, most=most)))


def shown(value: Value) -> int | str | None:
    """As text where it is text, else its bytes in hexadecimal digits."""
    if isinstance(value, bytes):
        text = in_words(value)
        return text if isinstance(text, str) and text.isprintable() else f"0x{value[:64].hex()}"
    return value


def means(field: Field, profile: Profile, value: Value) -> str:
    """What it decodes to; empty: it is what it is."""
    if value is None:
        return "no such object"
    parts = field.name.split(".")
    last = parts[-1]
    if parts[0] == "spans" and len(parts) == 3 and last in profile.spans:
        if not isinstance(value, int):
            return "no number: it is not read"
        meaning = profile.spans[last].conditions
        return meaning.get(value, "nothing is wrong" if meaning else "")
    if last in NUMBERS and not isinstance(value, int):
        return "no number: it is not read"
    if not isinstance(value, int):
        return ""
    if parts[0] == "interfaces" and last in ("admin", "oper"):
        return PORT.get(value, "unknown")
    if parts[0] != "spans":
        return f"{value // 100} s" if last == "uptime" else ""
    match last:
        case "status":
            return " ".join(sorted(ds1.conditions(value))) or "nothing is wrong"
        case "loopback":
            return "loopback" if value & ~ds1.NO_LOOP else "none"
        case "is_valid":
            return {1: "yes", 2: "no"}.get(value, "unknown")
        case "elapsed_s":
            return f"{value} s of these 15 minutes"
        case "intervals":
            return f"{value} of 96 are kept"
        case _:
            return ""


NUMBERS = frozenset((*oids.LINE, *oids.COUNTERS, *oids.INTERFACE, "uptime", "engine_boots"))


def advice(device: Device, profile: Profile, values: Values, *, most: int) -> Iterator[str]:
    reading = read("", device, profile, values, 0)
    known = profile.object_ids
    own = reading.object_id
    if not own:
        yield "object_ids: it does not say what it is (sysObjectID)"
    elif known and not any(f"{own}.".startswith(f"{one}.") for one in known):
        yield f'object_ids: it says it is {own}, which is not of these; add "{vendor(own)}"'
    if most < profile.max_varbinds:
        yield f"max_varbinds: it answers nothing to a larger request than {most}; say {most}"
    spans = reading.spans
    if profile.ds1 and spans:
        without = [number for number, span in spans.items() if span.status is None]
        if len(without) == len(spans):
            yield "ds1: it tells no line's status: has it no DS1-MIB, say false"
        for number in without if len(without) < len(spans) else ():
            index = device.spans[number].index
            yield f"span {number}: nothing is told of line {index}; is it there?"
        if len(without) < len(spans):
            yield from _counters(device, profile, values)
    for name in profile.spans:
        rows = {n: own_oid(profile, name, n, span) for n, span in device.spans.items()}
        missing = [number for number, oid in rows.items() if values.get(oid) is None]
        if rows and len(missing) == len(rows):
            yield f"spans.{name}: no span has it; is {profile.spans[name].oid} right?"
        elif missing:
            yield f"spans.{name}: not there for {spans_in_words(missing)}; is `first` right?"
        elif any(not isinstance(values[oid], int) for oid in rows.values()):
            yield f"spans.{name}: its value is no number, and only numbers are read"
    if profile.interfaces and reading.interfaces and not any(reading.interfaces.values()):
        yield "interfaces: it has none of these; has it no interface tables, say false"
    for name, oid in profile.scalars.items():
        if values.get(oid) is None:
            yield f"scalars.{name}: there is no such object; is {oid} right?"
    yield from _there_after_all(device, profile, values)


def _counters(device: Device, profile: Profile, values: Values) -> Iterator[str]:
    indexes = [span.index for span in device.spans.values()]
    if profile.intervals:
        rows = [f"{oid}.{index}.{NEWEST}" for oid in oids.INTERVAL.values() for index in indexes]
        kept = [values.get(f"{oids.LINE['intervals']}.{index}") for index in indexes]
        if not any(values.get(oid) is not None for oid in rows):
            if all(one == 0 for one in kept):
                yield "intervals: it has kept none yet; ask again when 15 minutes are over"
            else:
                yield "intervals: there is no table of intervals; say 0"
    for name, oid in (oids.LINE | oids.CURRENT).items():
        if not any(values.get(f"{oid}.{index}") is not None for index in indexes):
            yield f"ds1: no line has {name} ({oid}); it stays unknown, nothing is to be done"


def _there_after_all(device: Device, profile: Profile, values: Values) -> Iterator[str]:
    found = [oid for oid in probes(device, profile) if values.get(oid) is not None]
    for table, field, say in (
        (oids.LINE["status"], "ds1", "true: it has DS1-MIB"),
        (oids.INTERVAL["es"], "intervals", "96: it keeps them"),
        (oids.INTERFACE["oper"], "interfaces", "true: it has the interface tables"),
    ):
        if any(oid.startswith(f"{table}.") for oid in found):
            yield f"{field}: say {say}"


def vendor(object_id: str) -> str:
    """So far a sysObjectID names who made the device (1.3.6.1.4.1.VENDOR)."""
    return ".".join(object_id.split(".")[:7])


def spans_in_words(numbers: Sequence[int]) -> str:
    return f"span{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
