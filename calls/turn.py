"""One step at work: the records it may touch, the indexes over them, the facts it states."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from calls.acd.engine import Acd
from calls.centre import Address, Centre, Queue
from calls.in_force import in_force
from calls.records import WAITING, AgentState, Call, Event, Ledger, Leg, Outbox, Settings
from media_servers.verbs import Session

MAX_FACTS = 100_000
"""Facts in one step: more is a bug, not a busy day."""


class Tx(Protocol):
    """What `cluster.machine.Step` offers a step of calls."""

    now_ms: int
    wall_ms: int
    epoch: int
    n: int

    @property
    def id(self) -> str: ...
    def token(self, n: int = 8) -> str: ...
    def get(self, key: str) -> Any: ...
    def keys(self, prefix: str) -> list[str]: ...
    def edit(self, key: str) -> Any: ...
    def put(self, key: str, record: Any) -> None: ...
    def delete(self, key: str) -> None: ...
    def emit(self, effect: Any) -> None: ...


class Book:
    """Indexes over the records of a shard; derived, so never replicated."""

    def __init__(self, settings: Settings, shard: str) -> None:
        self._shard = shard
        self.declared: Centre
        """The whole centre: which numbers there are, and whose they are."""
        self.centre: Centre
        """What this shard decides by: its own queues and agents."""
        self.decide_by(settings)
        self.calls: dict[str, None] = {}
        self.closing: dict[str, int] = {}
        """How many calls there are in each closing queue."""
        self.legs: dict[str, tuple[str, ...]] = {}
        """Ids of legs by the dialog's Call-ID; one but for forks and refused retries."""
        self.agents: dict[str, None] = {}
        """Who has a record: the declared ones, and those who finish a call."""
        self.unsettled: list[str] = []
        """Whom a change of the centre concerns and who are still to be settled."""
        self.acd = Acd(tuple(self.centre.queues))

    def decide_by(self, settings: Settings) -> None:
        self.declared = settings.centre
        self.centre = in_force(settings.centre, self._shard, settings.closing)

    def calls_in(
        self, queues: Iterable[str], call_of: Callable[[str], Call | None]
    ) -> dict[str, int]:
        """How many calls came to each of the queues and have not ended."""
        found = dict.fromkeys(queues, 0)
        for name in self.calls if found else ():
            call = call_of(name)
            if call is not None and call.queue in found:
                found[call.queue] += 1
        return found

    def add_leg(self, call_id: str, leg: str) -> None:
        self.legs[call_id] = (*self.legs.get(call_id, ()), leg)

    def drop_leg(self, call_id: str, leg: str) -> None:
        rest = tuple(other for other in self.legs.get(call_id, ()) if other != leg)
        if rest:
            self.legs[call_id] = rest
        else:
            self.legs.pop(call_id, None)


class Turn:
    """What every function of this package is given first."""

    def __init__(self, tx: Tx, book: Book, shard: str, sip: Address) -> None:
        self.tx = tx
        self.book = book
        self.centre = book.centre
        self.shard = shard
        self.host, self.port = sip
        self.sent_by = f"{self.host}:{self.port}"
        self.contact = f"<sip:{self.sent_by}>"
        self.now_ms = tx.now_ms
        self.emit = tx.emit
        self.wanted: dict[str, Session] = {}
        """Media sessions by call, as this step wants them last: what comes before is not sent."""
        self._facts: list[Event] = []
        self._ids = 0

    # Names.

    def new_id(self) -> str:
        """Unique in the shard for ever: the step's id and a count."""
        self._ids += 1
        return f"{self.tx.id.replace('/', '-')}-{self._ids}"

    @property
    def order(self) -> int:
        """Grows with every step, over takeovers too."""
        return self.tx.epoch << 40 | self.tx.n

    # Records.

    def call(self, call: str) -> Call | None:
        found: Call | None = self.tx.get(f"call/{call}")
        return found

    def edit_call(self, call: str) -> Call:
        found: Call = self.tx.edit(f"call/{call}")
        return found

    def leg(self, leg: str) -> Leg | None:
        found: Leg | None = self.tx.get(f"leg/{leg}")
        return found

    def edit_leg(self, leg: str) -> Leg:
        found: Leg = self.tx.edit(f"leg/{leg}")
        return found

    def agent(self, agent: str) -> AgentState | None:
        found: AgentState | None = self.tx.get(f"agent/{agent}")
        return found

    def edit_agent(self, agent: str) -> AgentState:
        found: AgentState = self.tx.edit(f"agent/{agent}")
        return found

    def legs_of(self, call_id: str) -> Iterator[Leg]:
        """The legs whose dialogs have this Call-ID."""
        for name in self.book.legs.get(call_id, ()):
            leg = self.leg(name)
            if leg is not None:
                yield leg

    def add_leg(self, leg: Leg) -> None:
        self.tx.put(f"leg/{leg.id}", leg)
        self.book.add_leg(leg.dialog.call_id, leg.id)

    def drop_leg(self, leg: Leg) -> None:
        self.tx.delete(f"leg/{leg.id}")
        self.book.drop_leg(leg.dialog.call_id, leg.id)

    def queue_of(self, call: Call) -> Queue:
        return self.centre.queues.get(call.queue) or Queue()

    def tried_by(self, call: str) -> Mapping[str, int]:
        found = self.call(call)
        return found.tried if found else {}

    def wait(self, call: Call) -> None:
        """`call` stands in its queue, at the place that its arrival gives it."""
        call.state = WAITING
        self.book.acd.wait(
            call.id,
            queue=call.queue,
            priority=call.priority,
            arrived_ms=call.arrived_ms,
            order=call.order,
        )

    # Facts.

    def fact(self, kind: str, call: str = "", **fields: Any) -> None:
        """State a fact; one that names a class of the ledger is counted there too."""
        assert len(self._facts) < MAX_FACTS
        self._facts.append(
            Event(f"{self.tx.id}/{len(self._facts)}", self.tx.wall_ms, kind, call, fields)
        )
        if kind in Ledger.__struct_fields__:
            ledger: Ledger = self.tx.edit("ledger")
            setattr(ledger, kind, getattr(ledger, kind) + 1)

    def close(self) -> tuple[str, list[Event]] | None:
        """Put the facts of this step into the outbox: their key and they; None without facts."""
        if not self._facts:
            return None
        key = f"outbox/{self.tx.epoch:08d}/{self.tx.n:012d}"
        self.tx.put(key, Outbox(self._facts))
        return key, self._facts
