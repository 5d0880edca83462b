"""Runs faults: a cluster for each, people in every state, the strike, and what was seen of it.

A cluster that a run leaves whole serves the next one. Whatever happens, everything that was started
is ended; a run that takes too long is one that failed.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loadtest.io.store_servers import ServersFailed
from loadtest.verdict import FAULT_MS
from node.api import Refused, Unreachable
from node.ask import NoCluster
from node.chaos.faults import Fault, monotonic_ms
from node.chaos.seen import Logs, Run, Strike, Tally, said, seen
from node.chaos.site import Options, Site, site
from node.commanded import CommandFailed
from node.crowds import Crowds
from node.directory import Directory
from node.first_centre import StartError
from node.ground import GroundFailed
from node.scene import SHARDS, NoNetwork

CALLS_A_SECOND = 20
"""For each shard."""
BURST = 3
"""So many more callers of each shard come before a strike, and as many with it..."""
LEAVING = 2
"""...and so many agents hang up before it, and as many with it."""
PROMPT_MS = 550
"""Callers who come so long before a strike hear the prompt (it lasts 1.5 s)."""
WRAP_UP_LEAD_MS = 250
"""Agents who hang up so long before a strike are in wrap-up (it lasts 500 ms)."""
AFTER_MS = FAULT_MS + 500
"""Phones look at gaps for FAULT_MS."""
RUN_S = 120.0
"""Limit of a run with one strike, and for each strike more."""
BOOK_MS = 8_000
"""Call records may take so long to be in the database."""
POLL_S = 0.25

FAILURES = (
    CommandFailed,
    GroundFailed,
    NoCluster,
    NoNetwork,
    OSError,
    Refused,
    ServersFailed,
    StartError,
    Unreachable,
)
"""Why a cluster cannot be started, or does not go on."""


class Chaos:
    """All runs. `say` shows a line of progress; `finished` each run that has ended."""

    def __init__(
        self,
        options: Options,
        folder: Path,
        *,
        say: Callable[[str], None],
        finished: Callable[[Fault, Run], None],
    ) -> None:
        self._options = options
        self._folder = folder
        self._say = say
        self._finished = finished
        self._sites = 0
        self.tallies: list[Tally] = []

    async def run(self) -> None:
        """Every fault, `runs` times. Raises one of FAILURES when no cluster can be started."""
        for fault in self._options.faults:
            tally = Tally(fault.name, fault.says)
            self.tallies.append(tally)
            began = time.monotonic()
            while len(tally.runs) < self._options.runs:
                await self._on_one_site(fault, tally)
            tally.seconds = time.monotonic() - began

    async def _on_one_site(self, fault: Fault, tally: Tally) -> None:
        """Runs on one cluster, until all are done or one has not left it whole."""
        self._sites += 1
        folder = self._folder / str(self._sites)
        self._say(f"{fault.name}: starting {self._options.nodes} nodes")
        whole = True
        async with site(folder, self._options, fault) as here:
            while whole and len(tally.runs) < self._options.runs:
                number = len(tally.runs) + 1
                self._say(f"{fault.name} {number}/{self._options.runs}")
                run, whole = await self._one(here, fault, number)
                tally.runs.append(run)
                self._finished(fault, run)
        logs = said({path.name: _lines(path) for path in _logs(folder)})
        tally.two_actives += logs.two_actives
        tally.nodes_ended += logs.nodes_ended
        if not logs.two_actives and all(not run.logs for run in tally.runs):
            shutil.rmtree(folder, ignore_errors=True)

    async def _one(self, here: Site, fault: Fault, number: int) -> tuple[Run, bool]:
        """One run, and whether it left the cluster whole."""
        folder = here.folder / f"run-{number}"
        folder.mkdir()
        seed = self._options.seed + 10 * number
        crowds = Crowds(folder, here.parts, seed=seed, rate=CALLS_A_SECOND)
        turns = self._options.nodes if fault.in_a_row else 1
        here.ground.problems.clear()
        problems: list[str] = []
        strikes: list[Strike] = []
        switches: list[dict[str, Any]] = []
        logs: Logs = dict.fromkeys(SHARDS, ())
        whole = False
        try:
            async with asyncio.timeout(RUN_S + turns * RUN_S / 2):
                before = await here.status()
                await self._play(here, fault, crowds, turns, strikes)
                logs = crowds.logs()
                whole = await self._compared(here, crowds, before, problems)
                switches = await _switches(here, before)
        except TimeoutError:
            problems.append("the run did not end in time")
        except FAILURES as error:
            problems.append(str(error))
        finally:
            await crowds.close()
        run = seen(
            number,
            strikes,
            logs,
            switches=switches,
            takes_audio=fault.takes_audio,
            problems=[*problems, *crowds.problems, *here.ground.problems],
        )
        if run.is_ok:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            run.logs = str(folder)
        return run, whole

    async def _play(
        self, here: Site, fault: Fault, crowds: Crowds, turns: int, strikes: list[Strike]
    ) -> None:
        """People come, the fault strikes, and everybody goes home."""
        await crowds.start()
        await crowds.mixed()
        for turn in range(turns):
            strikes.append(await self._strike(here, fault, crowds, turn))
            await here.ground.ready()
        await here.ground.agents_agree(await crowds.states(), "after the fault")
        await crowds.served()

    async def _strike(self, here: Site, fault: Fault, crowds: Crowds, turn: int) -> Strike:
        """People in every state, probes in their calls, and then the fault."""
        mark = f"fault {turn + 1}" if fault.in_a_row else "fault"
        await crowds.tell(probe=True)
        await crowds.tell(calls=BURST, rate=1_000 / BURST)
        await asyncio.sleep((PROMPT_MS - WRAP_UP_LEAD_MS) / 1_000)
        await crowds.tell(hang_up=LEAVING)
        stage, actives = await here.stage(turn)
        victim = fault.victim(stage)
        moving = tuple(name for name, node in actives.items() if victim and node == victim.name)
        await asyncio.sleep(WRAP_UP_LEAD_MS / 1_000)
        await crowds.tell(mark=mark, calls=BURST, rate=1_000, hang_up=LEAVING)
        async with fault.act(stage) as struck:
            await asyncio.sleep(fault.lasts_ms / 1_000)
        await asyncio.sleep(max(0.0, struck.at_ms + AFTER_MS - monotonic_ms()) / 1_000)
        await crowds.tell(probe=False)
        return Strike(mark, struck.at_ms, struck.still_ms, victim.name if victim else "", moving)

    async def _compared(
        self, here: Site, crowds: Crowds, before: dict[str, Any], problems: list[str]
    ) -> bool:
        """The cluster's books against the phones'; is it whole?"""
        verdict = crowds.judged()
        await here.ground.agents_agree(verdict.phones, "after the last call")
        await here.ground.ledger_adds_up()
        taken_before = _taken(before)
        end = time.monotonic() + BOOK_MS / 1_000
        records = taken = -1
        while time.monotonic() < end:
            status = await here.status()
            taken = _taken(status) - taken_before
            known = await here.ground.found.history("cdr")
            records = len({record["call"] for record in known}) - taken_before
            if records == taken == verdict.offered:
                break
            await asyncio.sleep(POLL_S)
        else:
            problems.append(
                f"{verdict.offered} calls were made, {taken} are in the ledger, {records} have a "
                "call record"
            )
        await here.ground.ready()
        return True


def _taken(status: dict[str, Any]) -> int:
    ledger: dict[str, int] = status["ledger"]
    return ledger["received"] - ledger["refused"]


async def _switches(here: Site, before: dict[str, Any]) -> list[dict[str, Any]]:
    """What `keepline failovers` says of this run."""
    epochs = {shard["name"]: shard["epoch"] for shard in before["shards"]}
    rows = await here.ground.found.history("failovers")
    return [row for row in rows if row["epoch"] > epochs.get(row["shard"], 0)]


def _logs(folder: Path) -> list[Path]:
    logs = Directory(folder / "data").logs
    return sorted([*logs.glob("*.log"), *logs.glob("*.log.1")])


def _lines(path: Path) -> Iterable[str]:
    with path.open(errors="replace") as file:
        yield from file


def run(
    options: Options,
    *,
    say: Callable[[str], None],
    finished: Callable[[Fault, Run], None],
) -> tuple[list[Tally], str]:
    """Every run, and the folder of logs where some were kept. Raises one of FAILURES."""
    folder = Path(tempfile.mkdtemp(prefix="keepline-"))
    chaos = Chaos(options, folder, say=say, finished=finished)
    try:
        asyncio.run(_until_told(chaos))
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        raise KeyboardInterrupt from None
    if any(path.is_dir() for path in folder.iterdir()):
        return chaos.tallies, str(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return chaos.tallies, ""


async def _until_told(chaos: Chaos) -> None:
    """Run; SIGTERM ends it as Ctrl-C does, with everything it started."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await chaos.run()
