"""All simulated people of a run: one simulation for each shard, and what all of them say."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loadtest import facts
from loadtest.verdict import PhoneState, Verdict, judge
from node.commanded import CommandFailed
from node.phones import Phones
from node.scene import Part, phone_words

STILL_MS = 5_000
"""When nothing changed for so long, no more people will talk, ring or wait than do."""
IDLE_MS = 10_000
"""Nothing happened on any phone for so long: nothing will."""
ENDING_MS = 45_000
POLL_S = 0.25

COUNTED = ("to_come", "dialling", "waiting", "talking", "over", "agents_ringing")


class Crowds:
    """The people of `parts`. `problems`: findings beyond their verdict; none is good."""

    def __init__(self, folder: Path, parts: Sequence[Part], *, seed: int, rate: int) -> None:
        self.parts = parts
        self.problems: list[str] = []
        self.on_count: Callable[[Mapping[str, int]], None] = lambda count: None
        self._all = [
            Phones(folder, part.shard, phone_words(part, seed + place, rate))
            for place, part in enumerate(parts)
        ]

    @property
    def is_over(self) -> bool:
        """Every simulation has ended."""
        return all(phones.is_over for phones in self._all)

    def of(self, shard: str) -> Phones:
        """The simulation of one shard."""
        return next(phones for phones in self._all if phones.name == shard)

    async def start(self) -> None:
        """Everybody begins to come. Raises CommandFailed."""
        for phones in self._all:
            await phones.start()

    async def tell(self, **command: object) -> None:
        """Give all simulations one command. Raises CommandFailed."""
        await asyncio.gather(*(phones.ask(**command) for phones in self._all))

    async def count(self) -> dict[str, int]:
        """How many people do what, on all phones; those of an ended simulation are over."""
        total = dict.fromkeys(COUNTED, 0)
        for part, phones in zip(self.parts, self._all, strict=True):
            if phones.is_over:
                total["over"] += part.mix.callers
                continue
            state = (await phones.ask(state=True))["state"]
            for name in total:
                total[name] += state[name]
        self.on_count(total)
        return total

    async def mixed(self) -> bool:
        """Wait until everybody came and talks, rings or waits as the scenario wants it."""
        mixes = [part.mix for part in self.parts]
        talking = sum(mix.talking + mix.held for mix in mixes)
        waiting = sum(mix.waiting + mix.ringing for mix in mixes)
        people: dict[str, int] = {}
        changed = time.monotonic()
        while time.monotonic() - changed < STILL_MS / 1_000:
            last, people = people, await self.count()
            if people != last:
                changed = time.monotonic()
            if people["talking"] >= talking and people["waiting"] >= waiting:
                return True
            await asyncio.sleep(POLL_S)
        self.problems.append(
            f"before any fault only {people['talking']} of {talking} talked and "
            f"{people['waiting']} of {waiting} waited"
        )
        return False

    async def states(self) -> list[PhoneState]:
        """The agents' phones at this moment. Raises CommandFailed."""
        found = []
        for phones in self._all:
            if not phones.is_over:
                report = (await phones.ask(report=True))["report"]
                found += [PhoneState(**phone) for phone in report["verdict"]["phones"]]
        return found

    async def served(self) -> None:
        """Talks may end, and all calls shall; when nothing goes on any more, end them."""
        await self.tell(release=True)
        last: dict[str, int] = {}
        changed = time.monotonic()
        while not self.is_over:
            try:
                people = await self.count()
            except CommandFailed:  # ended between two looks; `ended` tells how
                break
            if people != last:
                last, changed = people, time.monotonic()
            if time.monotonic() - changed > IDLE_MS / 1_000:
                self.problems.append(f"nobody is served any more, {people['waiting']} wait")
                for phones in self._all:
                    if not phones.is_over:
                        await phones.ask(stop=True)
                break
            await asyncio.sleep(POLL_S)
        for phones in self._all:
            await phones.ended(ENDING_MS)

    def logs(self) -> dict[str, list[facts.AnyFact]]:
        """What the phones of each shard saw; whole once `served` has returned."""
        return {phones.name: facts.read(phones.log.read_bytes()) for phones in self._all}

    def judged(self) -> Verdict:
        """The verdict from all phones' logs."""
        return judge([fact for log in self.logs().values() for fact in log])

    async def close(self) -> None:
        """End everything now."""
        for phones in self._all:
            await phones.close()
