"""A shard of calls without a network: a caller, agents' phones and a media server on virtual time.

Every effect goes through bytes: datagrams are parsed by the phones, records are encoded after each
step, and `takeover()` throws the machine away and opens another on those bytes, as a standby would.
"""

import heapq
from collections.abc import Callable
from typing import Any

from calls import effects, inputs
from calls.centre import Agent, Centre, Number, Queue, Shard
from calls.machine import Calls
from calls.records import Event
from cluster.machine import Step, Timer
from sip.message import Message, parse

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\n"
    "m=audio 7000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
HOLD = SDP + "a=sendonly\r\n"
SIP = ("127.0.0.1", 5060)
CALLER = ("127.0.0.9", 5070)


def centre(agents: int = 1, *, wrap_up_ms: int = 5_000, pause_ms: int = 0, **number: Any) -> Centre:
    return Centre(
        numbers={"4001": Number(queue="support", **number)},
        queues={"support": Queue(wrap_up_ms=wrap_up_ms, no_answer_pause_ms=pause_ms)},
        agents={
            str(1001 + i): Agent(
                name=f"Desk {i}", phone=f"sip:{1001 + i}@127.0.0.2:{7001 + i}", queues=("support",)
            )
            for i in range(agents)
        },
        shards={"main": Shard(sip=SIP)},
    )


class World:
    """Time stands still until `run` moves it."""

    def __init__(self, made_of: Centre) -> None:
        self.centre = made_of
        self.now_ms = 1_000
        self.epoch = 1
        self.steps = 0
        self.committed: dict[str, bytes] = {}
        self.records: dict[str, Any] = {}
        self.sent: list[tuple[Message, tuple[str, int]]] = []
        self.events: list[Event] = []
        self.media: dict[str, Any] = {}
        self.media_refuses = ""
        """Why it refuses all it is asked for; empty: it does not..."""
        self.media_dislikes = "BAD"
        """...but for sessions with this in the SDP of a phone."""
        self.first_port = 20_000
        self.deleted: list[str] = []
        self.lost_asked: list[int] = []
        """Epochs of which the database was asked what they left open."""
        self.on_message: Callable[[Message, tuple[str, int]], None] | None = None
        self.after_commit: Callable[[int], None] | None = None
        """Told the number of each step, after its commit and before its effects."""
        self._due: list[tuple[int, int, Any]] = []
        self._n = 0
        self._effects: list[Any] = []
        self.version = 0
        self.machine = self._machine()
        self.configure(made_of)

    def _machine(self) -> Calls:
        return Calls("main", SIP, self.centre)

    def configure(self, made_of: Centre) -> None:
        """The next version of the centre."""
        self.version += 1
        self.post(inputs.Configure(made_of, self.version))

    def post(self, event: Any) -> None:
        """One step and its effects, in order."""
        self.steps += 1
        tx = Step(
            self.records,
            shard="main",
            epoch=self.epoch,
            n=self.steps,
            now_ms=self.now_ms,
            wall_ms=1_700_000_000_000 + self.now_ms,
            random=self.steps.to_bytes(32, "big"),
        )
        try:
            self.machine.step(tx, event)
        except ValueError as error:
            self.records = {
                key: self.machine.decode(key, data) for key, data in self.committed.items()
            }
            self.machine.open(self.records)
            tx = Step(
                self.records, shard="main", epoch=self.epoch, n=self.steps,
                now_ms=self.now_ms, wall_ms=0, random=b"x" * 32,
            )  # fmt: skip
            self.machine.poisoned(tx, event, error)
        before = {key: data for key, data in self.committed.items() if key not in tx._changed}
        for key in tx._changed:
            if key in self.records:
                before[key] = self.machine.encode(key, self.records[key])
        for key, record in self.records.items():
            assert before[key] == self.machine.encode(key, record), f"{key} changed unreported"
        self.committed = before
        if self.after_commit is not None:
            self.after_commit(self.steps)
        for effect in tx.effects:
            self.perform(effect)

    def takeover(self) -> None:
        """Another node goes on with the committed bytes."""
        self.epoch += 1
        self._due.clear()
        self.records = {key: self.machine.decode(key, data) for key, data in self.committed.items()}
        self.machine = self._machine()
        self.machine.open(self.records)
        for key in list(self.records):
            if key not in self.records:
                continue
            tx = Step(
                self.records, shard="main", epoch=self.epoch, n=self.steps + 1,
                now_ms=self.now_ms, wall_ms=0, random=self.steps.to_bytes(32, "little"),
            )  # fmt: skip
            self.steps += 1
            self.machine.redrive(tx, key)
            for changed in tx._changed:
                if changed in self.records:
                    self.committed[changed] = self.machine.encode(changed, self.records[changed])
                else:
                    self.committed.pop(changed, None)
            for effect in tx.effects:
                self.perform(effect)
        self.later(0, inputs.MediaSessions(list(self.media)))

    def later(self, ms: int, event: Any) -> None:
        self._n += 1
        heapq.heappush(self._due, (self.now_ms + ms, self._n, event))

    def perform(self, effect: Any) -> None:
        match effect:
            case effects.Respond():
                self._deliver(effect.datagram, effect.origin.source)
            case effects.Request():
                self._deliver(effect.datagram, effect.destination)
            case effects.Send():
                self._deliver(effect.datagram, effect.destination)
            case effects.Acked():
                pass
            case effects.ApplyMedia():
                self._apply(effect.session)
            case effects.DeleteMedia():
                self.media.pop(effect.session, None)
                self.deleted.append(effect.session)
            case effects.GoOn():
                self.later(0, inputs.Settle())
            case effects.FindLost():
                self.lost_asked.append(effect.epoch)
            case effects.Publish():
                known = {event.id for event in self.events}
                self.events += [event for event in effect.events if event.id not in known]
                self.later(5, inputs.Drained([effect.key]))

    def _deliver(self, datagram: bytes, address: tuple[str, int]) -> None:
        msg = parse(datagram)
        self.sent.append((msg, address))
        if self.on_message is not None:
            self.on_message(msg, address)

    def _apply(self, session: Any) -> None:
        disliked = any(self.media_dislikes in leg.remote for leg in session.legs)
        if self.media_refuses or disliked:
            reason = self.media_refuses or "bad_sdp"
            refused = inputs.MediaRefused(session.id, session.counter, reason)
            self.later(1, refused)
            return
        old = self.media.get(session.id)
        if old is None or old.counter <= session.counter:
            self.media[session.id] = session
        names = [leg.name for leg in session.legs]
        sdps = {
            leg.name: SDP.replace("7000", str(self.first_port + 2 * at)).replace(
                "o=- 1 1", f"o=- 1 {leg.version}"
            )
            for at, leg in enumerate(session.legs)
        }
        ports = {name: self.first_port + 2 * at for at, name in enumerate(names)}
        self.later(1, inputs.MediaApplied(session.id, session.counter, sdps, ports))
        for leg in session.legs:
            for source in leg.hears:
                if getattr(source, "loop", True) is False:
                    self.later(1_500, inputs.PlayEnded(session.id, session.seen + 1, source.play))

    def run(self, ms: int) -> None:
        """Let `ms` pass: timers of records and answers that are under way."""
        until = self.now_ms + ms
        while True:
            timers = [
                (deadline, key)
                for key, record in self.records.items()
                if (deadline := self.machine.deadline(key, record)) is not None
            ]
            due_ms, key = min(timers, default=(until + 1, ""))
            if self._due and self._due[0][0] <= max(due_ms, self.now_ms):
                if self._due[0][0] > until:
                    break
                at, _, event = heapq.heappop(self._due)
                self.now_ms = max(self.now_ms, at)
                self.post(event)
            elif due_ms <= until:
                self.now_ms = max(self.now_ms, due_ms)
                self.post(Timer(key, due_ms))
            else:
                break
        self.now_ms = until

    # Looking.

    def request_from(self, text: str, *, source: tuple[str, int] = CALLER) -> None:
        self.post(inputs.Requested(parse(text.encode()), source))

    def facts(self, kind: str) -> list[dict[str, Any]]:
        return [event.fields | {"call": event.call} for event in self.events if event.kind == kind]

    def answers(self, status: int, method: str = "") -> list[Message]:
        return [
            msg for msg, _ in self.sent
            if msg.status == status and (not method or msg.cseq_method == method)
        ]  # fmt: skip

    def requests(self, method: str) -> list[Message]:
        return [msg for msg, _ in self.sent if msg.method == method]

    @property
    def state(self) -> list[int]:
        return [record.state for key, record in self.records.items() if key.startswith("call/")]

    def agent(self, name: str = "1001") -> Any:
        return self.records[f"agent/{name}"]
