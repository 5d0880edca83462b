"""Watches devices: asks them as the schedule says, and reports what they say."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence

import msgspec

from gateway_mgmt.ds1 import Row
from gateway_mgmt.inventory import Device
from gateway_mgmt.io.credentials import CredentialError, Credentials
from gateway_mgmt.io.diagnose import diagnose
from gateway_mgmt.io.lag import Lag
from gateway_mgmt.io.poller import (
    RETRIES,
    TIMEOUT_MS,
    UNREADABLE,
    Answered,
    Poller,
    Refused,
    Target,
)
from gateway_mgmt.io.sip import SipAsker
from gateway_mgmt.io.traps import TrapPort
from gateway_mgmt.observation import Observation
from gateway_mgmt.profile import Profile
from gateway_mgmt.reading import Reading, chunks, questions, read, read_rows, row_questions
from gateway_mgmt.reading import wanted_rows as rows_to_read
from gateway_mgmt.schedule import Lane, Schedule
from gateway_mgmt.sight import Sight
from gateway_mgmt.snmp.pdu import Value
from gateway_mgmt.traps import Desk, Hint, Sender

SILENT_CHUNKS_MAX = 2
"""So many requests of one poll without an answer, and the rest is not asked."""


class Report(msgspec.Struct, tag="report", omit_defaults=True):
    """What came of one poll."""

    device: str
    at_ms: int
    observations: list[Observation] = []
    reading: Reading | None = None
    rows: list[tuple[int, Row]] = []
    """(span, interval) that were not known before."""
    trouble: str = ""
    """Why nothing, or not all, could be read, for a person."""
    missed: int = 0
    """Polls in a row without an answer."""


class Counted(msgspec.Struct, tag="counted"):
    """Since the start."""

    poller: str
    polls: int = 0
    answered: int = 0
    partial: int = 0
    silent: int = 0
    refused: int = 0
    unknown: int = 0
    lag_worst_ms: float = 0
    traps: dict[str, int] = {}
    trap_rcvbuf: int = 0
    trap_drops: int = 0
    lag_ms: float = 0
    """How late the loop was at most in the last seconds."""


class Watcher:
    """One set of devices. `start` must run on the loop; `report` is called on it."""

    def __init__(
        self,
        devices: Mapping[str, Device],
        profiles: Mapping[str, Profile],
        poller: Poller,
        report: Callable[[Report], None],
        *,
        before: "Watcher | None" = None,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        """`before`: who watched until now; what he knows of devices that did not change is kept."""
        self.counted = Counted(poller.name)
        self.sights: dict[str, Sight] = {}
        for name, device in devices.items():
            known = before.sights.get(name) if before else None
            profile = profiles[device.profile]
            is_same = known is not None and (known.device, known.profile) == (device, profile)
            self.sights[name] = known if known and is_same else Sight(name, device, profile)
        self._poller = poller
        self._report = report
        self._timeout_ms = timeout_ms
        self._credentials = Credentials()
        self._targets: dict[str, Target | CredentialError] = {}
        self._engine_ids: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._lag = Lag()
        self._sip = SipAsker()
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """A bug of ours: whoever sees it ends the process."""
        for name, device in devices.items():
            self._targets[name] = self._target(name, device)
        places = {Lane.FAST: poller.places, Lane.SLOW: poller.places}
        periods = {name: device.poll_ms for name, device in devices.items()}
        due_ms = before.due_ms if before else {}
        self._schedule = Schedule(periods, self._now_ms(), places, due_ms)

    @property
    def due_ms(self) -> dict[str, int]:
        """When each device is asked next, by the loop's clock."""
        return self._schedule.due_ms

    def start(self) -> None:
        self._lag.start()
        self._sip.start()
        self._spawn(self._run())

    async def stop(self) -> None:
        """Ends what is under way."""
        self._lag.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sip.close()

    def listen(self, port: TrapPort, *, engine_id: bytes, boots: int, started_s: float) -> Desk:
        """Traps of these devices ask for polls. Our engine has its boots since `started_s`, by the
        loop's clock: it must not be another one while they stay the same."""
        senders: dict[str, list[Sender]] = {}
        for name, sight in self.sights.items():
            target = self._targets[name]
            if isinstance(target, CredentialError):
                continue
            found = target.credentials
            user = getattr(found.access, "user", "").encode()
            sender = Sender(name, found.community, user, found.keys)
            for host in dict.fromkeys((sight.device.address[0], *sight.device.traps_from)):
                senders.setdefault(host, []).append(sender)
        desk = Desk(
            senders,
            engine_id=engine_id,
            boots=boots,
            started_s=started_s,
            salt=int.from_bytes(os.urandom(8), "big"),
        )
        port.start(desk, self.poke)
        return desk

    def poke(self, hint: Hint) -> None:
        """Ask this device now, if it was not just asked."""
        self._schedule.poke(hint.device, self._now_ms())
        self._wake.set()

    def late_ms(self, last_s: float) -> float:
        """How late our loop was at most in so many seconds until now."""
        return self._lag.since_ms(self._loop.time() - last_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() and not self.failed.done():
            self.failed.set_exception(task.exception() or AssertionError)

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            for name in self._schedule.take(self._now_ms()):
                self._spawn(self._poll(name))
            next_ms = self._schedule.next_ms()
            wait_s = None if next_ms is None else max(0, next_ms - self._now_ms()) / 1_000
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _poll(self, name: str) -> None:
        sight, target = self.sights[name], self._targets[name]
        self.counted.polls += 1
        if isinstance(target, CredentialError):
            target = self._targets[name] = self._target(name, sight.device)
        if isinstance(target, CredentialError):
            self._done(name, None)
            self._say(sight, sight.unknown(wall_ms()), trouble=str(target))
            return
        started_s = self._loop.time()
        sip = sight.device.sip
        asked_sip = self._loop.create_task(self._sip.is_alive(sip)) if sip else None
        try:
            answered = await self._ask_safely(sight, target)
            is_late = self._lag.since_ms(started_s) > self._timeout_ms / 2
            self.counted.lag_worst_ms = max(self.counted.lag_worst_ms, self._lag.worst_ms)
            self._done(name, None if is_late and answered is False else answered)
            sip_answers = await asked_sip if asked_sip else None
        finally:
            if asked_sip:
                asked_sip.cancel()
        is_late = is_late or self._lag.since_ms(started_s) > self._timeout_ms / 2
        at_ms = wall_ms()
        if answered is False:
            self._silent(sight, is_late=is_late, sip_answers=sip_answers, at_ms=at_ms)
        if sip_answers is not None and (sip_answers or not is_late):
            news = sight.sip(sip_answers, at_ms)
            if news:
                self._say(sight, news)

    def _silent(self, sight: Sight, *, is_late: bool, sip_answers: bool | None, at_ms: int) -> None:
        if is_late:
            self.counted.unknown += 1
            self._say(sight, sight.unknown(at_ms), trouble="not known: we were late ourselves")
            return
        self.counted.silent += 1
        trouble = "no answer to SNMP"
        if sip_answers:
            field = "community" if hasattr(sight.device.access, "community") else "address"
            trouble = (
                f"snmp.{field}: no answer to SNMP, though SIP answers; is it right, "
                "and may we ask from here?"
            )
        self._say(sight, sight.silent(sip_answers=sip_answers, at_ms=at_ms), trouble=trouble)

    def _target(self, name: str, device: Device) -> Target | CredentialError:
        try:
            return Target(name, device.address, self._credentials.resolve(device.access))
        except CredentialError as error:
            return error

    async def _ask_safely(self, sight: Sight, target: Target) -> bool | None:
        """`_ask`; what one device says must not end the polls of the others."""
        try:
            return await self._ask(sight, target)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, polls go on
            self._poller.forget(target)
            self.counted.refused += 1
            why = f"SNMP: {UNREADABLE} ({type(error).__name__})"
            self._say(sight, sight.refused(wall_ms()), trouble=why)
            return True

    async def _ask(self, sight: Sight, target: Target) -> bool | None:
        """Did it answer? It is reported if so."""
        is_slow = self._schedule.lane(sight.name) is Lane.SLOW
        asked = questions(sight.device, sight.profile)
        values, why = await self._get(sight, target, asked, retries=0 if is_slow else RETRIES)
        if not values and target.credentials.keys is not None:
            why = await diagnose(target, self._timeout_ms) or why
        if not values and why:
            self.counted.refused += 1
            self._say(sight, sight.refused(wall_ms()), trouble=why)
            return True
        if not values:
            self._poller.forget(target)
            return False
        reading = read(sight.name, sight.device, sight.profile, values, wall_ms())
        self.counted.answered += 1
        if any(oid not in values for oid in asked):
            self.counted.partial += 1
        news = sight.answered(reading)
        rows: list[tuple[int, Row]] = []
        self._say(sight, news, reading=reading, trouble=why or self._oddity(sight, reading))
        wanted = rows_to_read(sight.device, sight.profile, reading, sight.known_ms)
        if wanted:
            oids = row_questions(sight.device, wanted)
            values, _ = await self._get(sight, target, oids, retries=RETRIES)
            rows = read_rows(sight.device, reading, wanted, values)
            if rows:
                self._say(sight, sight.read_rows(rows, wall_ms()), rows=rows)
        return True

    async def _get(
        self, sight: Sight, target: Target, oids: Sequence[str], *, retries: int
    ) -> tuple[dict[str, Value], str]:
        """What came, and why not all did."""
        values: dict[str, Value] = {}
        why = ""
        silent = 0
        for chunk in chunks(oids, sight.profile):
            answer = await self._poller.get(
                target, chunk, timeout_ms=self._timeout_ms, retries=retries
            )
            if isinstance(answer, Answered):
                values |= answer.values
                continue
            silent += 1
            why = answer.why if isinstance(answer, Refused) else why
            if not values or silent >= SILENT_CHUNKS_MAX:
                break
        return values, why

    def _oddity(self, sight: Sight, reading: Reading) -> str:
        """What is wrong though it answered."""
        if reading.engine_id:
            self._engine_ids[sight.name] = reading.engine_id
            owner = self._same_engine(sight.name, reading.engine_id)
            if owner:
                clash = f"its v3 engine id {reading.engine_id} is that of {owner}"
                return f"snmp.address: {clash}; one must change"
        known = sight.profile.object_ids
        is_known = any(f"{reading.object_id}.".startswith(f"{one}.") for one in known)
        if known and reading.object_id and not is_known:
            return (
                f"profile: it says it is {reading.object_id}, "
                f"which {sight.device.profile} is not for"
            )
        return ""

    def _same_engine(self, name: str, engine_id: str) -> str:
        """Another device that says it has this engine id."""
        found = self._engine_ids.items()
        return next((other for other, has in found if has == engine_id and other != name), "")

    def _done(self, name: str, answered: bool | None) -> None:
        self._schedule.done(name, answered=answered, now_ms=self._now_ms())
        self._wake.set()

    def _say(
        self,
        sight: Sight,
        news: list[Observation],
        *,
        reading: Reading | None = None,
        rows: Sequence[tuple[int, Row]] = (),
        trouble: str = "",
    ) -> None:
        self._report(
            Report(sight.name, wall_ms(), news, reading, list(rows), trouble, sight.missed)
        )


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
