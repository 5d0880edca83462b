"""The whole runtime: three nodes, two shards of real calls, and people with real phones.

What runs is the product: `cluster.runtime.Shard` over `calls.machine.Calls`, `sip.transaction` on
nodes and phones, `loadtest`'s callers and agents, `failover.plan`. Simulated are time, networks,
store, media server, database and processes.
"""

from collections.abc import Callable
from typing import Any

from calls import inputs
from cluster.machine import Machine
from cluster.store import node_of
from cluster.switch import Switch
from loadtest import facts, identity
from loadtest.agent import Agent
from loadtest.caller import Caller
from loadtest.effects import HangUp, Start
from loadtest.facts import AnyFact
from loadtest.leg import Phone
from loadtest.sim import person
from loadtest.sim.address import Addresses
from loadtest.sim.call_rules import CallRules, Watched
from loadtest.sim.call_shard import CallShard
from loadtest.sim.crowd import NUMBERS, QUEUES, SIP, crowd
from loadtest.sim.database import Database
from loadtest.sim.draw import Draw
from loadtest.sim.faults import Faults
from loadtest.sim.media import MediaServer
from loadtest.sim.member import Member
from loadtest.sim.rules import Uneventful, Violation
from loadtest.sim.wire import Wire
from loadtest.sim.world import World
from sip.uri import Address

FAULTS = 12
FAULTS_MS = (1_500, 15_000)
CALM_MS = 16_500
LOOK_MS = 500
JOURNALS = ("off", "async", "async", "async", "sync")
END_MS = 140_000
"""Whatever is not over by then will never be."""
MEDIA_AWAY_MS = (300, 1_500)
MEDIA_LOST_MS = 2_000
"""As `node.node`: new calls are turned away when it has been gone for so long."""
ONE_HOST = 0.6
"""Part of runs in which all nodes are on one host."""
OTHER_PORTS = 0.3
DATABASE_AWAY_MS = (300, 2_000)
FIRST_RTP = 6_000


class Person(person.Person):
    """Somebody with a phone, who is woken when he has something to do."""

    def __init__(
        self, world: "Calling", human: Caller | Agent, address: Address, rtp: int, queue: str
    ) -> None:
        super().__init__(world, human, address, rtp)
        self.queue = queue
        self.calls_open: dict[str, None] = {}
        self._world = world
        self._due_ms: int | None = None
        self._n = 0

    def noted(self, fact: AnyFact) -> None:
        match fact:
            case facts.Invited() | facts.Offered():
                self.calls_open[fact.call] = None
            case facts.Over():
                self.calls_open.pop(fact.call, None)
            case _:
                pass
        self._world.noted(fact)

    def hangs_up(self, calls: list[str]) -> None:
        """He does, if he is still in one of these calls."""
        if any(call in self.calls_open for call in calls):
            self.step(HangUp())
            self.wake()

    def wake(self) -> None:
        """After anything that happened to him: see to it that he acts in time."""
        due_ms = self.next_ms
        if due_ms is None or (self._due_ms is not None and self._due_ms <= due_ms):
            return
        self._due_ms = due_ms
        self._n += 1
        n = self._n
        self._world.at(max(0, due_ms - self._world.now_ms), lambda: self._woken(n))

    def _woken(self, n: int) -> None:
        if n == self._n:
            self._due_ms = None
            self.tick(self._world.now_ms)
            self.wake()


class Place:
    """`loadtest.sim.call_shard.Here`: the process that a shard of calls is on."""

    def __init__(self, world: "Calling", member: Member) -> None:
        self._world = world
        self._member = member
        self.now_ms = member.process.now_ms
        self.at = member.process.at
        self.travel = world.at

    def transmit(self, datagram: bytes, destination: Address) -> None:
        if self._member.process.is_alive:
            self._world.send(datagram, SIP[self._member.name], destination)

    def refuses(self) -> str:
        if self._member.process.is_leaving:
            return "draining"
        media = self._world.media
        away_ms = 0 if media.is_up else self._world.now_ms - media.down_ms
        return "no_media" if away_ms > MEDIA_LOST_MS else ""

    def failed(self, fault: Exception) -> None:
        self._world.rules.accuse(f"{self._member.name} on {self._member.node}: {fault!r}")


class Calling(World):
    """One run."""

    def __init__(self, draw: Draw, *, is_told: bool = False) -> None:
        journal = draw.choice(JOURNALS)
        super().__init__(draw, nodes=3, shards=tuple(SIP), journal=journal, is_told=is_told)
        self.check = True
        self.facts: list[AnyFact] = []
        self.media = MediaServer(self.at, self._hears)
        self.database = Database()
        self.addresses = Addresses(
            self,
            is_one_host=draw.random() < ONE_HOST,
            is_reading=lambda member: self.side(member).is_reading,
            read=lambda member, datagram, source: self.side(member).receive(datagram, source),
        )
        self.wire = Wire(self, self._arrives)
        self.call_rules = CallRules(self)
        self.faults = Faults(
            self, {"media restarts": self._media_dies, "database away": self._database_goes}
        )
        self.people: list[Person] = []
        self._by_address: dict[Address, Person] = {}
        self._by_rtp: dict[int, Person] = {}
        self._sides: dict[Member, CallShard] = {}
        self._shard_at = {sip: shard for shard, sip in SIP.items()}
        everybody = crowd(draw)
        self.centre = everybody.centre
        for n, (agent, address) in enumerate(everybody.agents):
            phone = Phone(address, (address[0], FIRST_RTP + len(self.people)))
            human = Agent(agent, identity.agent(n), token=f"ffff{n:04x}", phone=phone)
            one = self._join(human, self.centre.agents[agent.name].queues[0])
            one.step(Start())
        for n, caller in enumerate(everybody.callers):
            queue = NUMBERS[caller.number][0]
            address = (f"127.0.1.{1 + n}", 5070)
            phone = Phone(address, (address[0], FIRST_RTP + len(self.people)))
            one = self._join(
                Caller(
                    caller,
                    identity.caller(n),
                    who=f"c{n}",
                    call=f"call-{n}",
                    token=f"aaaa{n:04x}",
                    phone=phone,
                    target=SIP[_shard_of(queue)],
                ),
                queue,
            )
            self.at(caller.starts_ms + 500, lambda one=one: self._dials(one))  # type: ignore[misc]
        for node in self.names:
            self.start(node)

    def _join(self, human: Caller | Agent, queue: str) -> Person:
        leg_phone = human.phone if isinstance(human, Agent) else human.leg.phone
        one = Person(self, human, leg_phone.sip, leg_phone.rtp[1], queue)
        self.people.append(one)
        self._by_address[one.address] = one
        self._by_rtp[one.rtp] = one
        return one

    def _dials(self, one: Person) -> None:
        one.step(Start())
        one.wake()

    def shard_of(self, one: Person) -> str:
        """The shard whose queue somebody waits in or serves."""
        return _shard_of(one.queue)

    # -- loadtest.sim.world.World ------------------------------------------------------------------

    def machine(self, member: Member) -> Machine:
        made = Watched(member.name, SIP[member.name], self.centre)
        made.rules, made.member = self.call_rules, member
        return made

    def side(self, member: Member) -> CallShard:
        """The member's SIP, media and database."""
        side = self._sides.get(member)
        if side is None:
            side = self._sides[member] = CallShard(
                Place(self, member), member.shard, SIP[member.name], self.media, self.database
            )
        return side

    def move_address(self, member: Member, old_active: str, moved: Callable[[], None]) -> None:
        self.addresses.move(member, old_active, moved)

    def served(self, member: Member, *, lost: bool) -> None:
        self.call_rules.served(member, lost=lost)
        self.side(member).serve()
        self.addresses.look(member)
        member.shard.handle(inputs.Configure(self.centre))

    def switched(self, member: Member, switch: Switch) -> None:
        member.shard.handle(inputs.Switched(switch.document()))

    def held(self, member: Member, held: bool) -> None:
        self.side(member).hold(held)
        self.addresses.look(member)

    def released(self, member: Member) -> None:
        key, epoch = member.shard.core.key, member.shard.core.epoch
        heir = key.active if key is not None and key.epoch == epoch else ""
        if heir and node_of(heir) != member.node:
            self.addresses.pass_on(member, node_of(heir))
        self.addresses.keep(member)
        if member in self._sides:
            self._sides[member].release()

    def let_go(self, member: Member, to: str) -> None:
        if member in self._sides:
            self._sides[member].release()
        if to:
            self.addresses.pass_on(member, to)
        else:
            self.addresses.close(member)

    def lost(self, shard: str) -> None:
        self.call_rules.lost(shard)

    def promoted(self, member: Member) -> None:
        self.call_rules.promoted(member.name)

    def committed(self, shard: str, key: str, value: bytes | None) -> None:
        if value is not None and key.startswith("call/"):
            self.call_rules.committed(shard, value)

    def turn(self, member: Member) -> None:
        if member in self._sides:
            self._sides[member].tick()

    def perform(self, member: Member, effect: Any) -> None:
        self.side(member).perform(effect)

    # -- the wire ----------------------------------------------------------------------------------

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """A datagram leaves somebody."""
        self.wire.send(datagram, source, destination)

    def _arrives(self, datagram: bytes, source: Address, destination: Address) -> None:
        shard = self._shard_at.get(destination)
        if shard is None:
            one = self._by_address[destination]
            one.receive(datagram, source)
            one.wake()
            return
        self.addresses.arrives(shard, datagram, source)

    def noted(self, fact: AnyFact) -> None:
        """Somebody's phone has seen something."""
        self.facts.append(fact)
        if self.is_told:
            self.remark("", fact.who, repr(fact))
        self.call_rules.noted(fact)

    def _hears(self, rtp: int, what: str) -> None:
        one = self._by_rtp.get(rtp)
        if one is not None:
            speaker = self._by_rtp.get(int(what)) if what.isdecimal() else None
            sound = speaker.human.voice.name if speaker is not None else what.partition(".")[0]
            self.at(1, lambda: self._heard(one, sound))

    def _heard(self, one: Person, sound: str) -> None:
        one.hears(sound)
        one.wake()

    # -- faults of its own -------------------------------------------------------------------------

    def _media_dies(self) -> None:
        if self.media.is_up:
            self.media.stop()
            self.media.down_ms = self.now_ms
            self.at(self.draw.choice(MEDIA_AWAY_MS), self._media_is_back)

    def _media_is_back(self) -> None:
        self.media.start(other_ports=self.draw.random() < OTHER_PORTS)
        self.tell("", "media server is back", None)
        for process in self.alive.values():
            for member in process.members.values():
                process.at(1, lambda member=member: self._finds_media(member))  # type: ignore[misc]

    def _finds_media(self, member: Member) -> None:
        side = self._sides.get(member)
        if side is not None and side.layer is not None:
            side.media_up()

    def _database_goes(self) -> None:
        self.database.is_away = True
        self.at(self.draw.choice(DATABASE_AWAY_MS), self._database_comes)

    def _database_comes(self) -> None:
        self.database.is_away = False

    # -- a run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Violation if a rule was broken."""
        first_ms, last_ms = FAULTS_MS
        self.faults.plan(FAULTS, from_ms=first_ms, to_ms=last_ms)
        self.at(CALM_MS, self.faults.end)
        self.at(CALM_MS, self.wire.calm)
        self.run_to(CALM_MS + 1)
        while (left := self._left()) and self.now_ms < END_MS:
            self.run_to(self.now_ms + LOOK_MS)
        if left:
            raise Violation(f"not over after {END_MS} ms: {left}")
        self.settle()
        self.call_rules.finish()
        if self.rules.broken:
            raise Violation(self.rules.broken[0])
        if len(self.rules.leaders) <= len(self.shards) or not self.call_rules.is_eventful:
            raise Uneventful(f"nobody took over: {self.counts}")

    def _left(self) -> str:
        if len(self.alive) < len(self.names) or self.is_leaving:
            return f"nodes: {list(self.alive)}"
        return self.call_rules.unfinished()


def _shard_of(queue: str) -> str:
    return next(shard for shard, name in QUEUES.items() if name == queue)
