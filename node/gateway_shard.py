"""One site's shard of alarms on one node: the process that polls, and who is told.

Everything a committed step asks for is performed here, while the shard is active here; everything
that is seen becomes an event of it. Decisions are in `gateway_mgmt`; what is here is wiring.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import structlog

from cluster.kept_events import KeptEvents
from gateway_mgmt.alarms import effects, inputs
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import Callers, Message
from gateway_mgmt.inventory import Address, Device
from gateway_mgmt.io.alertmanager import Alertmanager
from gateway_mgmt.io.courier import Courier, Sender
from gateway_mgmt.io.process import Polling, PollingEnded
from gateway_mgmt.io.senders import make
from gateway_mgmt.io.watch import Counted, Report
from gateway_mgmt.known import Known
from gateway_mgmt.plan import shard_of
from gateway_mgmt.profile import Profile
from gateway_mgmt.receivers import Receiver
from gateway_mgmt.trunks import TrunkState
from gateway_mgmt.wire import Configure, Poll, Started

START_AGAIN_S = 1.0
"""A process that polls and has ended is started again so much later."""
TELL_AGAIN_S = (0.1, 0.3, 1.0, 3.0)
"""Waits until a shard of calls that could not be told is told again; the last one repeats."""

Tell = Callable[[str, str, TrunkState], Awaitable[bool]]
"""(shard, id, state): has the shard of calls committed that it knows it?"""

log = structlog.get_logger()


def engine_id(cluster: str, site: str) -> str:
    """Of the SNMP engine that takes a site's informs, in hexadecimal digits; the same on each node.

    RFC 3411 §5, SnmpEngineID: octets of our own (5) under the enterprise number of RFC 5612.
    """
    return "80007ed905" + blake2b(f"{cluster}/{site}".encode(), digest_size=12).hexdigest()


class Watched(msgspec.Struct, frozen=True):
    """What is declared of one site, as far as it is watched and told of."""

    devices: dict[str, Device] = {}
    profiles: dict[str, Profile] = {}
    traps: Address | None = None
    receivers: dict[str, Receiver] = {}
    shards: tuple[str, ...] = ()
    """Those of calls, which are told of trunks."""


class Appointed(NamedTuple):
    """A receiver, and who brings it what."""

    receiver: Receiver
    courier: Courier
    sender: Sender

    def start(self) -> None:
        if isinstance(self.sender, Alertmanager):
            self.sender.start()  # what stands is said again and again

    async def stop(self) -> None:
        if isinstance(self.sender, Alertmanager):
            await self.sender.stop()
        await self.courier.stop()


def polled(watched: Watched) -> tuple[Any, ...]:
    """What the process that polls is told of it."""
    return watched.devices, watched.profiles, watched.traps


class GatewayShard:
    """The IO of one site's alarms. Its methods are called on the event loop."""

    def __init__(
        self,
        site: str,
        *,
        engine_id: str,
        post: Callable[[str, Any], None],
        tell: Tell,
        callers: Callers,
        standing: Callable[[str], Awaitable[Sequence[Message]]],
    ) -> None:
        """`engine_id`: of the SNMP engine that takes informs, in hexadecimal digits;
        `standing(shard)`: what the receivers shall take for true now, as it is committed."""
        self.site = site
        self.name = shard_of(site)
        self.known: dict[str, Known] = {}
        """What the last polls have shown, by device."""
        self.fresh: dict[str, None] = {}
        """Devices that were reported on; whoever shows them takes them out."""
        self.counted: Counted | None = None
        """By the process that polls, since it started."""
        self.started: Started | None = None
        self._engine_id = engine_id
        self._held = KeptEvents(lambda event: post(self.name, event))
        self._post = self._held.post
        self._tell = tell
        self._callers = callers
        self._standing = standing
        self._watched = Watched()
        self._is_serving = False
        self._boots = 0
        self._polling: Polling | None = None
        self._poll_task: asyncio.Task[None] | None = None
        self._poll_trouble = ""
        self._couriers: dict[str, Appointed] = {}
        self._waiting: dict[str, dict[str, Notice]] = {}
        """Notices, by key, for each receiver that this node has no courier for."""
        self._telling: dict[tuple[str, str], effects.Tell] = {}
        """The newest that each shard of calls is to know of each trunk."""
        self._gone: set[str] = set()
        """Shards of calls that were declared, and are no more: nobody waits for what they know."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def watched(self) -> Watched:
        return self._watched

    @property
    def alarms(self) -> list[str]:
        """What an operator must know of the watching itself."""
        found = [self._poll_trouble] if self._poll_trouble else []
        if self.started is not None and self.started.error:
            found.append(self.started.error)
        found += [one.courier.trouble for one in self._couriers.values() if one.courier.trouble]
        return [f"gateways of {self.site}: {one}" for one in found]

    # Coming and going.

    def declare(self, watched: Watched) -> None:
        """Watch this from now on, if the shard is active here, or as soon as it is."""
        before, self._watched = self._watched, watched
        self._gone = (self._gone | {*before.shards}) - {*watched.shards}
        if not self._is_serving:
            return
        for name in self.known.keys() - watched.devices.keys():
            del self.known[name]
        if before.receivers != watched.receivers:
            self._appoint()
        if polled(before) != polled(watched):
            self._spawn(self._ask(self._configure()))

    def serve(self, configure: Callable[[], None]) -> None:
        """The shard is ours and its barrier committed. `configure()` lets it step on what this node
        knows, and calls `declare`: what follows from that may be performed before it returns."""
        self._is_serving = True
        configure()
        self._appoint()
        self._post(inputs.PollerStarts())

    def hold(self, held: bool) -> None:
        """While it is handed over nothing is stepped on."""
        if held:
            self._held.hold()
        else:
            self._held.go_on()

    def release(self) -> None:
        """The shard is not ours any more: all that was under way ends. May be called again."""
        self._is_serving = False
        self._held.forget()
        for task in self._tasks:
            task.cancel()
        self._poll_task = self._polling = None
        for one in self._couriers.values():
            self._end(one.stop())
        self._couriers, self._waiting, self._telling = {}, {}, {}
        self.known, self.fresh, self.counted, self.started = {}, {}, None, None
        self._poll_trouble = ""

    async def close(self) -> None:
        """Release it, and wait until nothing of it runs."""
        self.release()
        await asyncio.gather(*self._tasks, *self._ending, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("gateways", shard=self.name, error=repr(error))

    def _end(self, work: Coroutine[Any, Any, Any]) -> None:
        """What ends even if the shard has left."""
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # Effects.

    def perform(self, effect: Any) -> None:
        """Do what a committed step asks for."""
        if not self._is_serving:
            return
        match effect:
            case effects.Deliver(key, notice):
                self._deliver(key, notice)
            case effects.Tell(shard, _, state):
                is_told = (shard, state.trunk) in self._telling
                self._telling[shard, state.trunk] = effect
                if not is_told:
                    self._spawn(self._tell_of(shard, state.trunk))
            case effects.Look(gateway):
                self._spawn(self._ask(Poll(gateway)))
            case effects.StartPoller(boots):
                self._boots = boots
                if self._poll_task is None:
                    self._poll_task = self._spawn(self._poll())
            case effects.Again(observations):
                for seen in observations:
                    self._post(inputs.Observed((seen,)))
            case _:
                raise TypeError(f"nobody performs {type(effect).__name__}")

    async def _tell_of(self, shard: str, trunk: str) -> None:
        """Until the shard of calls has committed the newest state."""
        telling, which = self._telling, (shard, trunk)
        failures = 0
        try:
            while shard not in self._gone:
                effect = telling[which]
                if await self._tell(shard, effect.id, effect.event):
                    self._post(inputs.Told(shard, trunk, effect.event.order))
                    failures = 0
                    if telling[which] is effect:
                        return
                else:
                    await asyncio.sleep(TELL_AGAIN_S[min(failures, len(TELL_AGAIN_S) - 1)])
                    failures += 1
        finally:
            del telling[which]

    # Receivers.

    def _appoint(self) -> None:
        """A courier for each receiver that is declared."""
        wanted = self._watched.receivers
        for name, one in list(self._couriers.items()):
            if wanted.get(name) != one.receiver:
                del self._couriers[name]
                self._waiting[name] = one.courier.left
                self._end(one.stop())
        for name, receiver in wanted.items():
            if name not in self._couriers:
                sender = make(receiver, lambda: self._standing(self.name))
                courier = Courier(name, sender, self._post, callers=self._callers)
                self._couriers[name] = one = Appointed(receiver, courier, sender)
                one.start()
                for key, notice in self._waiting.pop(name, {}).items():
                    courier.put(key, notice)

    def _deliver(self, key: str, notice: Notice) -> None:
        for receiver in notice.waiting:
            if receiver in self._couriers:
                self._couriers[receiver].courier.put(key, notice)
            else:
                self._waiting.setdefault(receiver, {})[key] = notice

    # The process that polls.

    async def _poll(self) -> None:
        """Until the process has ended: then the next start is asked for."""
        polling = Polling()
        try:
            await polling.start()
            self._polling = polling
            await self._ask(self._configure())
            async for message in polling.messages():
                self._heard(message)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, polls go on
            why = str(error) if isinstance(error, PollingEnded | OSError) else repr(error)
            self._poll_trouble = f"nothing polls: {why}"
            log.error("polling ended", shard=self.name, why=why)
        finally:
            if self._polling is polling:
                self._polling = None
            await polling.close()
        await asyncio.sleep(START_AGAIN_S)
        self._poll_task = None
        self._post(inputs.PollerStarts())

    def _configure(self) -> Configure:
        return Configure(
            devices=self._watched.devices,
            profiles=self._watched.profiles,
            traps=self._watched.traps,
            engine_id=self._engine_id,
            boots=self._boots,
            known_ms={
                # The newest is read again: alarms are decided by what it says.
                name: {
                    span: [row.start_ms for row in rows[:-1]] for span, rows in known.rows.items()
                }
                for name, known in self.known.items()
            },
        )

    async def _ask(self, wanted: Configure | Poll) -> None:
        if self._polling is not None:
            with suppress(PollingEnded):  # whoever reads its messages hears of it
                await self._polling.ask(wanted)

    def _heard(self, message: Report | Started | Counted) -> None:
        match message:
            case Started():
                self.started = message
                self._poll_trouble = ""
            case Counted():
                self.counted = message
            case Report() if message.device in self._watched.devices:
                known = self.known.setdefault(message.device, Known())
                known.at_ms, known.missed = message.at_ms, message.missed
                if message.reading or message.trouble or message.missed:
                    known.trouble = message.trouble  # other reports are of its SIP or intervals
                known.reading = message.reading or known.reading
                for span, row in message.rows:
                    known.add(span, row)
                self.fresh[message.device] = None
                if message.observations:
                    self._post(inputs.Observed(tuple(message.observations)))
