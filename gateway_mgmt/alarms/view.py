"""What people and programs see of the alarms of a shard. Nothing here changes anything."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway_mgmt.alarms.book import Book
from gateway_mgmt.alarms.kinds import SEVERITIES
from gateway_mgmt.alarms.records import (
    HOLDING,
    IDLE,
    RAISED,
    SOAKING,
    Alarm,
    Entry,
    Notice,
    Route,
    Settings,
    Window,
)
from gateway_mgmt.trunks import Impact, TrunkState, impact

STATES = {IDLE: "idle", SOAKING: "soaking", RAISED: "raised", HOLDING: "holding"}


class Shown(msgspec.Struct, frozen=True):
    """An alarm that is not idle, or flaps."""

    id: str
    path: str
    condition: str
    severity: str
    state: str
    """soaking, raised, holding, or idle (it flaps)."""
    since_wall_ms: int
    impact: Impact
    is_flapping: bool
    is_known: bool
    told: bool
    """The receivers were told of it, and not that it is over."""
    by: str
    """Why its message waits."""
    acked_by: str
    acked_wall_ms: int
    note: str
    seq: int


def alarms(records: Mapping[str, Any], book: Book) -> list[Shown]:
    """All of them, the worst first."""
    found: list[Alarm] = [records[key] for key in sorted(book.alarms)]
    shown = [show(alarm, book) for alarm in found if alarm.is_active or alarm.told]
    return sorted(shown, key=lambda one: (SEVERITIES.index(one.severity), one.path, one.condition))


def show(alarm: Alarm, book: Book) -> Shown:
    return Shown(
        id=alarm.id,
        path=alarm.path,
        condition=alarm.condition,
        severity=book.kind(alarm.path, alarm.condition).severity,
        state=STATES[alarm.state],
        since_wall_ms=alarm.since_wall_ms,
        impact=impact(book.trunks_of(alarm.path), book.plan.trunks),
        is_flapping=alarm.stable_ms > 0,
        is_known=alarm.is_known,
        told=bool(alarm.told),
        by=alarm.by,
        acked_by=alarm.acked_by,
        acked_wall_ms=alarm.acked_wall_ms,
        note=alarm.note,
        seq=alarm.seq,
    )


def standing(records: Mapping[str, Any], book: Book) -> list[Notice]:
    """What the receivers should take for true now: the last notice of each alarm they know of."""
    found: list[Alarm] = [records[key] for key in sorted(book.alarms)]
    return [
        Notice(
            id=f"{alarm.id}:{alarm.seq}",
            alarm=alarm.id,
            seq=alarm.seq,
            what=alarm.told,
            path=alarm.path,
            condition=alarm.condition,
            severity=book.kind(alarm.path, alarm.condition).severity,
            since_wall_ms=alarm.since_wall_ms,
            wall_ms=alarm.since_wall_ms,
            impact=impact(book.trunks_of(alarm.path), book.plan.trunks),
        )
        for alarm in found
        if alarm.told
    ]


def version(records: Mapping[str, Any]) -> int:
    """The version of the plan that the shard decides by; 0: it knows none yet."""
    settings: Settings | None = records.get("settings")
    return settings.version if settings else 0


def is_served_out(records: Mapping[str, Any]) -> bool:
    """Is nothing left that a receiver waits for?"""
    return not any(isinstance(record, Notice) for record in records.values())


def history(records: Mapping[str, Any]) -> list[Entry]:
    """The oldest first."""
    return sorted((one for one in records.values() if isinstance(one, Entry)), key=lambda e: e.n)


def routes(records: Mapping[str, Any]) -> list[TrunkState]:
    found = (one.state for one in records.values() if isinstance(one, Route))
    return sorted(found, key=lambda state: state.trunk)


def windows(book: Book) -> list[Window]:
    return [book.windows[id] for id in sorted(book.windows)]


def waiting(records: Mapping[str, Any], book: Book) -> list[Notice]:
    """The messages that some receiver does not have yet, the oldest first."""
    return [records[key] for key in book.notices]
