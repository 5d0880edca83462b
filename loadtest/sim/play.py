"""One seed from beginning to end, and what became of it."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from cluster.fault import kind, place
from loadtest.sim.calling import Calling
from loadtest.sim.counting import Counting
from loadtest.sim.draw import Draw
from loadtest.sim.rules import Uneventful, Violation

CORE = "core"
WHOLE = "whole runtime"
TAIL = 30
"""Lines of the log that come with a broken rule."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one seed went."""

    seed: int
    level: str
    violation: str = ""
    """What was wrong; "" if nothing was."""
    takeovers: int = 0
    answered: int = 0
    """Calls, or operations, that came to their good end."""
    crossed: int = 0
    """Calls that another node took over while they were under way, and that were not lost."""
    virtual_ms: int = 0
    events: int = 0
    counts: dict[str, int] = {}
    log: list[str] = []
    """All of it if somebody reads it; the end of it if a rule was broken."""


class Failure(msgspec.Struct, frozen=True):
    """A seed that broke a rule, and how to see it again."""

    seed: int
    violation: str
    command: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How many seeds went. Also the document that `keepline sim --json` prints."""

    level: str
    seeds: int
    seconds: float
    virtual_seconds: float
    events: int
    takeovers: int
    answered: int
    crossed: int
    faults: dict[str, int]
    happened: dict[str, int]
    """What else was counted: elections, losses, promotions."""
    failed: list[Failure]

    @property
    def line(self) -> str:
        """For a reader."""
        failed = f"{len(self.failed)} failed" if self.failed else "no rule broken"
        answered = (
            f"{self.answered} operations answered"
            if self.level == CORE
            else f"{self.answered} calls answered and {self.crossed} taken over while under way"
        )
        return (
            f"{self.seeds} seeds of the {self.level} in {self.seconds:.0f} s: {failed}, "
            f"{self.takeovers} takeovers, {answered}, "
            f"{sum(self.faults.values())} faults in {self.virtual_seconds:.0f} simulated seconds"
        )


def play(seed: int, level: str, draw: Draw, *, is_told: bool = False) -> Outcome:
    """Run it. `draw` is seeded by `seed`; `is_told`: with its whole log."""
    world = Counting(draw, is_told=is_told) if level == CORE else Calling(draw, is_told=is_told)
    violation = ""
    try:
        world.run()
    except (Violation, Uneventful) as error:
        violation = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a seed brings out is what it is for
        violation = f"{kind(error)} at {place(error)}: {error}"
    return Outcome(
        seed=seed,
        level=level,
        violation=" ".join(violation.split()),
        takeovers=max(0, len(world.rules.leaders) - len(world.shards)),
        answered=world.answered,
        virtual_ms=world.now_ms,
        events=world.events,
        counts=dict(world.counts),
        crossed=world.crossed,
        log=world.lines() if is_told else world.lines(TAIL) if violation else [],
    )


def failure(outcome: Outcome) -> Failure:
    """A failing seed as it is reported."""
    core = " --core" if outcome.level == CORE else ""
    return Failure(outcome.seed, outcome.violation, f"keepline sim{core} --seed {outcome.seed}")


def summary(level: str, outcomes: Iterable[Outcome], seconds: float) -> Summary:
    """All outcomes as one; read once."""
    failed: list[Failure] = []
    faults: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    seeds = virtual_ms = events = takeovers = answered = crossed = 0
    for outcome in outcomes:
        seeds += 1
        virtual_ms += outcome.virtual_ms
        events += outcome.events
        takeovers += outcome.takeovers
        answered += outcome.answered
        crossed += outcome.crossed
        for what, count in outcome.counts.items():
            name = what.removeprefix("fault: ")
            (happened if name == what else faults)[name] += count
        if outcome.violation:
            failed.append(failure(outcome))
    failed.sort(key=lambda one: one.seed)
    return Summary(
        level=level,
        seeds=seeds,
        seconds=round(seconds, 1),
        virtual_seconds=round(virtual_ms / 1_000, 1),
        events=events,
        takeovers=takeovers,
        answered=answered,
        crossed=crossed,
        faults=dict(sorted(faults.items())),
        happened=dict(sorted(happened.items())),
        failed=failed,
    )
