"""One step at work: the records it may touch, the indexes over them, its history and messages."""

from typing import Any

from cluster.machine import Step
from gateway_mgmt.alarms.book import Book
from gateway_mgmt.alarms.effects import Deliver
from gateway_mgmt.alarms.records import Alarm, Entry, Journal, Notice, alarm_key
from gateway_mgmt.trunks import impact

HISTORY_MAX = 5_000
"""Lines of history; the oldest goes when there are more."""
NOTICES_MAX = 10_000
"""Messages that wait for receivers; when there are more the oldest is dropped, says the history."""


class Turn:
    """What every function of this package is given first."""

    def __init__(self, tx: Step, book: Book) -> None:
        self.tx = tx
        self.book = book
        self.now_ms = tx.now_ms
        self.emit = tx.emit
        self._ids = 0

    @property
    def order(self) -> int:
        """Grows with every step, over takeovers too."""
        return self.tx.epoch << 40 | self.tx.n

    def new_id(self) -> str:
        """Unique in the shard for ever: the step's id and a count."""
        self._ids += 1
        return f"{self.tx.id.replace('/', '-')}-{self._ids}"

    # Records.

    def get(self, key: str) -> Any:
        return self.tx.get(key)

    def alarm(self, path: str, condition: str) -> Alarm | None:
        found: Alarm | None = self.tx.get(alarm_key(path, condition))
        return found

    def edit(self, alarm: Alarm) -> Alarm:
        found: Alarm = self.tx.edit(alarm.key)
        return found

    # History.

    def write(
        self,
        what: str,
        path: str,
        condition: str = "",
        *,
        alarm: str = "",
        by: str = "",
        note: str = "",
    ) -> None:
        """One line of history, in the place of the oldest one if there are HISTORY_MAX."""
        if self.tx.get("journal") is None:
            self.tx.put("journal", Journal())
        journal: Journal = self.tx.edit("journal")
        place = journal.written % HISTORY_MAX
        entry = Entry(journal.written, self.tx.wall_ms, what, path, condition, alarm, by, note)
        self.tx.put(f"history/{place:06d}", entry)
        journal.written += 1

    # Messages.

    def tell(self, alarm: Alarm, what: str, note: str = "") -> None:
        """A message about the alarm, for every receiver. Its record is being edited already."""
        alarm.seq += 1
        plan = self.book.plan
        kind = self.book.kind(alarm.path, alarm.condition)
        if not plan.receivers:
            return
        self._ids += 1
        key = f"notice/{self.tx.epoch:08d}/{self.tx.n:012d}/{self._ids:06d}"
        notice = Notice(
            id=f"{alarm.id}:{alarm.seq}",
            alarm=alarm.id,
            seq=alarm.seq,
            what=what,
            path=alarm.path,
            condition=alarm.condition,
            severity=kind.severity,
            since_wall_ms=alarm.since_wall_ms,
            wall_ms=self.tx.wall_ms,
            impact=impact(self.book.trunks_of(alarm.path), plan.trunks),
            waiting=list(plan.receivers),
            note=note,
        )
        if len(self.book.notices) >= NOTICES_MAX:
            self._drop_notice(next(iter(self.book.notices)))
        self.tx.put(key, notice)
        self.book.notices[key] = None
        self.emit(Deliver(key, notice))

    def _drop_notice(self, key: str) -> None:
        notice: Notice = self.tx.get(key)
        self.write(
            "dropped",
            notice.path,
            notice.condition,
            alarm=notice.alarm,
            by=",".join(notice.waiting),
            note=f"{NOTICES_MAX} messages wait",
        )
        self.forget_notice(key)

    def forget_notice(self, key: str) -> None:
        self.tx.delete(key)
        self.book.notices.pop(key, None)
