"""Indexes over the records of a shard of alarms; derived, so never replicated.

Their order may differ from node to node: whoever walks them does so in an order of his own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway_mgmt.alarms.kinds import CAUSES, DEFAULTS, NOT_KNOWN, Kind, explains
from gateway_mgmt.alarms.records import Alarm, Line, Notice, Plan, Settings, Window
from gateway_mgmt.observation import TRUNK, gateway_of, is_within, line_of
from gateway_mgmt.trunks import concerned

READ_SLICE = 500
"""Records of one slice."""


class Book:
    """What the records say, by other keys."""

    def __init__(self, settings: Settings) -> None:
        self.plan: Plan
        self.decide_by(settings)
        self.active: dict[str, dict[str, None]] = {}
        """The conditions that explain others, by path."""
        self.alarms: dict[str, None] = {}
        """Keys of all alarms that have a record."""
        self.muted: dict[str, dict[str, None]] = {}
        """Keys of the alarms whose message waits, by what it waits for."""
        self.out: dict[str, tuple[str, ...]] = {}
        """Why, by the path of what is out of call routing."""
        self.windows: dict[str, Window] = {}
        self.notices: dict[str, None] = {}
        """Keys, the oldest first: they are sorted when read, and grow with every step."""

    def decide_by(self, settings: Settings) -> None:
        self.plan = settings.plan
        self._concerned: dict[str, tuple[str, ...]] = {}

    def read(self, records: Mapping[str, Any]) -> Iterator[None]:
        """Begin with what the records have, some of them at each `next`."""
        for n, (key, record) in enumerate(records.items(), 1):
            if n % READ_SLICE == 0:
                yield
            match record:
                case Alarm():
                    self.keep(record)
                case Line():
                    self.out[record.path] = reasons(record)
                case Window():
                    self.windows[record.id] = record
                case Notice():
                    self.notices[key] = None
        self.notices = dict.fromkeys(sorted(self.notices))

    # Alarms.

    def keep(self, alarm: Alarm) -> None:
        """The alarm is as it stands now."""
        self.alarms[alarm.key] = None
        if alarm.is_active:
            self.active.setdefault(alarm.path, {})[alarm.condition] = None
        else:
            self._not_active(alarm)
        if alarm.by:
            self.muted.setdefault(alarm.by, {})[alarm.key] = None

    def unmute(self, alarm: Alarm) -> None:
        """It waits for nothing any more, or for something else."""
        if alarm.by:
            waiting = self.muted[alarm.by]
            del waiting[alarm.key]
            if not waiting:
                del self.muted[alarm.by]
            alarm.by = ""

    def drop(self, alarm: Alarm) -> None:
        self.unmute(alarm)
        self._not_active(alarm)
        del self.alarms[alarm.key]

    def _not_active(self, alarm: Alarm) -> None:
        conditions = self.active.get(alarm.path)
        if conditions is None:
            return
        conditions.pop(alarm.condition, None)
        if not conditions:
            del self.active[alarm.path]

    # What is declared.

    def kind(self, path: str, condition: str) -> Kind:
        plan = self.plan
        of_gateway = plan.gateways.get(gateway_of(path))
        found = of_gateway.get(condition) if of_gateway else None
        return found or plan.kinds.get(condition) or DEFAULTS.get(condition) or NOT_KNOWN

    def is_declared(self, path: str) -> bool:
        if path.startswith(TRUNK):
            return path.removeprefix(TRUNK) in self.plan.trunks
        return gateway_of(path) in self.plan.gateways

    def is_looked_for(self, path: str, condition: str) -> bool:
        """Would anybody say that it is over?"""
        plan = self.plan
        *outer, last = line_of(path)
        if path.startswith(TRUNK) or not plan.looked_for:
            return self.is_declared(path)
        if len(outer) > 1:  # a channel is as good as its line
            return outer[-1] in plan.looked_for
        return last in plan.looked_for and condition in plan.conditions[plan.looked_for[last]]

    def trunks_of(self, path: str) -> tuple[str, ...]:
        found = self._concerned.get(path)
        if found is None:
            found = self._concerned[path] = concerned(path, self.plan.trunks)
        return found

    # Why a message waits.

    def waits_for(self, alarm: Alarm, now_ms: int) -> str:
        """What the message of this alarm waits for; empty: it may go.

        A trunk has its reason only if each of its spans has one: one that lost some spans only, and
        is busy, is news.
        """
        path, condition = alarm.path, alarm.condition
        if not path.startswith(TRUNK):
            return self._cause(path, condition) or self._window(path, now_ms)
        trunk = self.plan.trunks.get(path.removeprefix(TRUNK))
        spans = sorted(trunk.spans) if trunk else []
        found = [self._cause(span, condition) or self._window(span, now_ms) for span in spans]
        return found[0] if found and all(found) else self._window(path, now_ms)

    def _cause(self, path: str, condition: str) -> str:
        active = self.active
        for outer in line_of(path):
            conditions = active.get(outer)
            if conditions:
                for cause in CAUSES:
                    if cause in conditions and explains(
                        cause, condition, is_same_object=outer == path
                    ):
                        return f"{cause}@{outer}"
        return ""

    def _window(self, path: str, now_ms: int) -> str:
        for id in sorted(self.windows):
            window = self.windows[id]
            if window.from_ms <= now_ms < window.until_ms and is_within(path, window.prefix):
                return f"window:{id}"
        return ""


def reasons(line: Line) -> tuple[str, ...]:
    """Why a line is out: its faults, or the one that went last."""
    return tuple(line.faults) or (line.last,)
