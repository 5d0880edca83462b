"""Whatever happens in whatever order: the ledger adds up and each call is told of once."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from calls import inputs
from calls.centre import Centre, Number, Queue, Shard
from calls.records import Leg
from calls.view import ledger
from loadtest.sim.audit import audit_records
from sip.message import Message
from tests.calls.phones import Caller, Phone
from tests.calls.world import HOLD, SDP, World, centre

CALLERS = 5
AGENTS = 3
ACTS = (
    "calls", "calls", "calls", "invite", "ack", "ack", "cancel", "bye", "hold", "resume",
    "rings", "takes", "takes", "declines", "picks up", "picks up", "hangs up", "agent holds",
    "ready", "ready", "ready", "not ready", "signs out", "waits", "waits", "waits", "waits long",
    "is refused", "is served", "is served", "is served",
    "digit", "media is back", "media is empty", "no ports", "takeover", "times out",
    "is declared anew", "is declared anew",
)  # fmt: skip
WHOLE = centre(AGENTS, wrap_up_ms=300)
SALES = {"sales": Queue(wrap_up_ms=0), **WHOLE.queues}
CENTRES = (
    WHOLE,
    replace(WHOLE, max_calls=1),
    replace(WHOLE, agents={"1002": WHOLE.agents["1002"]}),
    replace(WHOLE, agents={}),
    replace(WHOLE, numbers={"4001": Number("sales")}, queues=SALES),
    replace(
        WHOLE,
        numbers={"4001": Number("sales")},
        queues={"sales": Queue()},
        agents={"1003": replace(WHOLE.agents["1003"], queues=("sales",))},
    ),
    Centre(numbers={}, queues={}, agents={}, shards={"other": Shard(("127.0.0.1", 5099))}),
)


@dataclass
class Floor:
    """A centre, its phones, and what they can do."""

    world: World = field(default_factory=lambda: World(WHOLE))
    phones: list[Phone] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.phones = [Phone(self.world, str(1001 + n), 7001 + n) for n in range(AGENTS)]

        def hear(msg: Message, address: tuple[str, int]) -> None:
            for phone in self.phones:
                phone.hear(msg, address)

        self.world.on_message = hear
        self.world.after_commit = lambda step: self.audit()

    def audit(self) -> None:
        world = self.world
        late = [
            key
            for key, record in world.records.items()
            if (due := world.machine.deadline(key, record)) is not None and due <= world.now_ms
        ]
        found = audit_records(world.machine, world.records, world.centre, world.now_ms)
        assert not [what for what in found if not (late and "is idle" in what)]

    def act(self, what: str, n: int) -> None:
        world = self.world
        phone = self.phones[n % AGENTS]
        caller = self.callers[n % len(self.callers)] if self.callers else None
        session = next(iter(world.media.values()), None)
        match what:
            case "invite" | "calls" if len(self.callers) < CALLERS:
                self.callers.append(Caller(world, f"c{len(self.callers)}"))
                self.callers[-1].invite()
                if what == "calls":
                    self.act("waits", 2)
                    self.act("ack", len(self.callers) - 1)
                    self.act("waits", 2)
            case "ack" if caller is not None and caller.final() is not None:
                caller.ack()
            case "cancel" if caller is not None:
                caller.cancel()
            case "bye" if caller is not None:
                caller.bye()
            case "hold" | "resume" if caller is not None:
                caller.request("INVITE", HOLD if what == "hold" else SDP)
            case "rings" | "takes" | "declines":
                phone.status = {"rings": 180, "takes": 200, "declines": 486}[what]
            case "picks up" if phone.invites:
                phone.pick_up()
            case "hangs up" if phone.invites:
                phone.bye()
            case "agent holds" if phone.invites:
                phone.request("INVITE", HOLD)
            case "ready" | "not ready" | "signs out":
                state = {"not ready": "not_ready", "signs out": "signed_out"}.get(what, what)
                world.post(inputs.SetAgent(phone.agent, state, "asked"))
            case "waits" | "waits long":
                world.run(n * 1_000 if what == "waits" else 40_000)
            case "is refused" | "is served":
                reasons = ("unreachable", "overload", "not_acceptable", "no_ports", "no_file")
                world.media_refuses = reasons[n % 5] if what == "is refused" else ""
            case "digit" if session is not None:
                world.post(inputs.Digit(session.id, session.seen + n, "caller", "5"))
            case "media is back":
                world.post(inputs.MediaSessions(list(world.media)))
            case "media is empty":
                world.media.clear()
                world.post(inputs.MediaSessions([]))
            case "no ports" if session is not None:
                world.post(inputs.MediaRefused(session.id, session.counter, "no_ports"))
            case "takeover":
                world.takeover()
            case "is declared anew":
                world.configure(CENTRES[n % len(CENTRES)])
            case "times out":
                for record in list(world.records.values()):
                    for asked in self.asked(record):
                        world.post(inputs.TimedOut(asked[0], asked[1]))

    @staticmethod
    def asked(record: object) -> list[tuple[str, str]]:
        """Requests of ours that have no answer."""
        if not isinstance(record, Leg):
            return []
        open_ = (record.outgoing, record.bye, record.probe)
        return [(one.branch, one.method) for one in open_ if one is not None]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 6)), max_size=50))
def test_the_ledger_adds_up_whatever_happens(acts: list[tuple[str, int]]) -> None:
    floor = Floor()
    for what, n in acts:
        floor.act(what, n)
    world = floor.world
    world.run(10)
    kept = ledger(world.records)
    assert kept["unaccounted"] == 0
    ended = Counter(fact["call"] for fact in world.facts("ended"))
    assert set(ended.values()) <= {1}
    live = {key[5:] for key in world.records if key.startswith("call/")}
    received = [fact["call"] for fact in world.facts("received")]
    refused = received.count("")  # a number unknown, too many calls: no call was made of it
    assert sorted([*ended, *live]) == sorted(call for call in received if call)
    assert kept["received"] == len(received)
    assert kept["refused"] >= refused
