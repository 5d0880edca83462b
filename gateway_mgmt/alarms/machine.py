"""The machine of a shard of alarms: which event means what to which alarm, trunk or message.

`cluster.runtime` runs it, as it runs calls: alarms, acknowledgements, history and what is still to
be sent are records, and so survive the node.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cluster.machine import ClusterLost, Promoted, Redrive, Step, Timer, UnknownRecord
from gateway_mgmt.alarms import configure, inputs, life, routing, windows
from gateway_mgmt.alarms.book import Book
from gateway_mgmt.alarms.effects import Again, Deliver, Look, StartPoller
from gateway_mgmt.alarms.records import (
    SOAKING,
    TYPES,
    Alarm,
    Engine,
    Line,
    Notice,
    Plan,
    Route,
    Settings,
    Window,
)
from gateway_mgmt.alarms.turn import Turn
from gateway_mgmt.observation import Observation, gateway_of

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(type_) for kind, type_ in TYPES.items()
}


class Alarms:
    """One shard of alarms."""

    def __init__(self, plan: Plan) -> None:
        self._declared = plan
        self._book = Book(Settings(plan))

    # Records.

    def encode(self, key: str, record: Any) -> bytes:
        return _ENCODER.encode(record)

    def decode(self, key: str, data: bytes) -> Any:
        decoder = _DECODERS.get(key.partition("/")[0])
        if decoder is None:
            raise UnknownRecord(key)
        return decoder.decode(data)

    def deadline(self, key: str, record: Any) -> int | None:
        match record:
            case Alarm():
                return life.deadline(record)
            case Line():
                return record.back_ms or None
            case Window():
                return record.until_ms
            case _:
                return None

    def open(self, records: Mapping[str, Any]) -> None:
        for _ in self.opening(records):
            pass

    def opening(self, records: Mapping[str, Any]) -> Iterator[None]:
        book = Book(records.get("settings") or Settings(self._declared))
        yield from book.read(records)
        self._book = book

    # Steps.

    def step(self, tx: Step, event: Any) -> None:
        t = Turn(tx, self._book)
        match event:
            case inputs.Observed():
                for seen in event.observations:
                    self._observed(t, seen)
            case inputs.PollerStarts():
                known: Engine | None = tx.get("engine")
                engine = Engine(known.boots + 1 if known else 1)
                tx.put("engine", engine)
                t.emit(StartPoller(engine.boots))
            case Timer():
                self._timer(t, event)
            case inputs.Acknowledge():
                for key in sorted(t.book.alarms):
                    if tx.get(key).id == event.alarm:
                        life.acknowledge(t, tx.edit(key), event.by, event.note)
            case inputs.SetWindow():
                windows.set_window(t, event)
            case inputs.EndWindow():
                windows.end_window(t, event.id, event.by)
            case inputs.Sent():
                self._sent(t, event)
            case inputs.Told():
                routing.told(t, event.trunk, event.shard, event.order)
            case inputs.Configure():
                configure.configure(t, event)
            case ClusterLost():
                t.write("cluster_lost", "", note=f"epoch {event.epoch}")
            case Promoted():
                t.write("promoted", "", note=f"epoch {event.epoch}")
            case _:
                raise TypeError(f"no step for {type(event).__name__}")

    def _observed(self, t: Turn, seen: Observation) -> None:
        book = t.book
        if not book.is_declared(seen.path):
            return  # of a gateway that is watched no more
        kind = book.kind(seen.path, seen.condition)
        life.observed(t, seen, kind)
        routing.observed(t, seen, kind)

    def _timer(self, t: Turn, event: Timer) -> None:
        record = t.tx.edit(event.key)
        match record:
            case Alarm():
                life.due(t, record)
            case Line():
                routing.due(t, record)
            case Window():
                windows.end_window(t, record.id, "")

    def _sent(self, t: Turn, event: inputs.Sent) -> None:
        for key in event.notices:
            notice: Notice | None = t.get(key)
            if notice is None or event.receiver not in notice.waiting:
                continue
            if event.refused:
                t.write(
                    "refused",
                    notice.path,
                    notice.condition,
                    alarm=notice.alarm,
                    by=event.receiver,
                    note=event.refused,
                )
            left = [receiver for receiver in notice.waiting if receiver != event.receiver]
            if left:
                t.tx.edit(key).waiting = left
            else:
                t.forget_notice(key)

    def redrive(self, tx: Step, key: str) -> None:
        t = Turn(tx, self._book)
        match tx.get(key):
            case Notice() as notice:
                t.emit(Deliver(key, notice))
            case Route() as route:
                routing.tell(t, route)
            case Alarm() as alarm if alarm.state == SOAKING:
                t.emit(Look(gateway_of(alarm.path)))
            case _:
                pass

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        """Lose one observation, or one record, and say so in the history."""
        t = Turn(tx, self._book)
        name = type(error).__name__
        match event:
            case inputs.Observed() if len(event.observations) > 1:
                t.emit(Again(event.observations))
            case inputs.Observed(observations=(seen,)):
                t.write("bug", seen.path, seen.condition, note=name)
            case Timer() | Redrive():
                t.write("bug", event.key, note=name)
                record = t.get(event.key)
                if isinstance(record, Alarm):
                    life.give_up(t, t.edit(record), "bug")
                elif isinstance(record, Line):
                    routing.drop(t, record)
                elif isinstance(record, Window):
                    t.tx.delete(event.key)
                    t.book.windows.pop(record.id, None)
            case _:
                t.write("bug", "", note=f"{type(event).__name__}: {name}")

    # What is asked.

    @property
    def book(self) -> Book:
        """The indexes, for `gateway_mgmt.alarms.view`."""
        return self._book
