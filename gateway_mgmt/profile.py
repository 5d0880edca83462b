"""What is read of a vendor's devices, as data: `profiles/*.yaml`, or a file of the site.

A file is taken whole or refused with one line that names file, line and field.
"""

from typing import Annotated, Any

import msgspec
import yaml

from cluster.durations import duration_ms
from gateway_mgmt.alarms.kinds import RAISABLE
from gateway_mgmt.observation import CONDITIONS
from gateway_mgmt.profile_errors import fault, in_words, line_of

MAX_BYTES = 1 << 18
HOUR_MS = 3_600_000

Oid = Annotated[str, msgspec.Meta(pattern=r"^1(\.(0|[1-9][0-9]{0,9})){3,60}$")]
Index = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){0,9}$")]
Named = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class ProfileError(Exception):
    """The text is the one line a person needs: file, field, what is wrong."""


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of a vendor's table with a row for each span."""

    oid: Oid
    first: Annotated[int, msgspec.Meta(ge=0, le=1)] | None = None
    """The row of span 1; the others follow. None: the row is the span's line index."""
    conditions: dict[int, str] = {}
    """What a value says is wrong. A value that is not here says that nothing of these is."""
    then: Index | None = None
    """What follows the row, where the table's index is longer."""


class Tuning(msgspec.Struct, frozen=True, omit_defaults=True):
    """How alarms of a condition behave, where that is not as usual. Empty: it is."""

    severity: str = ""
    soak: str = ""
    hold: str = ""
    """Times as in the centre's file: 500ms, 2.5s, 1m."""


class Profile(msgspec.Struct, frozen=True):
    """How devices of one kind are read, and how their alarms behave."""

    title: str
    object_ids: tuple[Oid, ...] = ()
    """sysObjectID begins so; a device that says another one is asked all the same, and told of."""
    max_varbinds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 31
    """In one request; some devices answer nothing to larger ones."""
    ds1: bool = True
    """Has it DS1-MIB?"""
    intervals: Annotated[int, msgspec.Meta(ge=0, le=96)] = 96
    """How many of the kept 15-minute intervals are asked for. 0: it keeps none."""
    interfaces: bool = True
    spans: dict[Named, Column] = {}
    scalars: dict[Named, Oid] = {}
    """Of the device as a whole."""
    alarms: dict[str, Tuning] = {}
    """By condition."""


# A profile that a newer version put into the centre may have more fields. One that a person wrote
# has a typing error then.


class _Column(Column, frozen=True, forbid_unknown_fields=True):
    pass


class _Tuning(Tuning, frozen=True, forbid_unknown_fields=True):
    pass


class _Profile(Profile, frozen=True, forbid_unknown_fields=True):
    spans: dict[Named, _Column] = {}  # type: ignore[assignment]
    alarms: dict[str, _Tuning] = {}  # type: ignore[assignment]


class _Loader(yaml.SafeLoader):
    """With a name that stands twice as an error."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.MarkedYAMLError(
                problem=f"{key.value} stands here twice", problem_mark=key.start_mark
            )
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_profile(text: bytes, file: str) -> Profile:
    """The profile that a file declares. Raises ProfileError."""
    if len(text) > MAX_BYTES:
        raise ProfileError(f"{file}: is larger than {MAX_BYTES >> 10} KiB")
    try:
        found = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        why = " ".join((error.problem or error.context or "cannot be parsed").split())
        raise ProfileError(f"{file}{line}: {why}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(f"{file}: {' '.join(str(error).split())}") from None
    profile, wrong = checked(found)
    if wrong is not None:
        path, why = wrong
        field = f"{in_words(path)}: " if path else ""
        raise ProfileError(f"{file}:{line_of(text, path)}: {field}{why}")
    assert profile is not None
    return profile


def checked(found: Any) -> tuple[Profile | None, tuple[list[str | int], str] | None]:
    """The profile that this document declares; or where in it a mistake is, and what it is."""
    try:
        msgspec.convert(found, _Profile)
    except msgspec.ValidationError as error:
        return None, fault(found, error, lambda other: msgspec.convert(other, _Profile))
    profile = msgspec.convert(found, Profile)
    for name, column in profile.spans.items():
        for value, condition in column.conditions.items():
            if condition not in CONDITIONS:
                known = ", ".join(sorted(CONDITIONS))
                where: list[str | int] = ["spans", name, "conditions", value]
                return None, (where, f"{condition!r} is no condition; known: {known}")
    for name, tuning in profile.alarms.items():
        wrong = _wrong(name, tuning)
        if wrong is not None:
            return None, wrong
    return profile, None


def _wrong(condition: str, tuning: Tuning) -> tuple[list[str | int], str] | None:
    if condition not in CONDITIONS:
        known = ", ".join(sorted(CONDITIONS))
        return ["alarms", condition], f"no such condition; known: {known}"
    if tuning.severity and tuning.severity not in RAISABLE:
        known = ", ".join(RAISABLE)
        why = f"{tuning.severity!r} is no severity; known: {known}"
        return ["alarms", condition, "severity"], why
    for field in ("soak", "hold"):
        written = getattr(tuning, field)
        value_ms = duration_ms(written) if written else 0
        if value_ms is None or value_ms > HOUR_MS:
            why = f"{written!r} is no time up to 1h, like 500ms, 2.5s or 1m"
            return ["alarms", condition, field], why
    return None
