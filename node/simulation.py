"""`keepline sim`: simulated clusters, seed by seed, and what is said of them.

A seed that breaks a rule is told with the end of its log, what was wrong, and the command that
repeats it; a seed by itself with its whole log.
"""

import json
import sys

import msgspec

from loadtest.io.seeds import fresh, run_seed, run_seeds
from loadtest.sim.play import Outcome, failure


def one(seed: int, level: str, *, as_json: bool) -> bool:
    """Run one seed and print what happened in it; was no rule broken?"""
    outcome = run_seed(seed, level, is_told=True)
    if as_json:
        _document(outcome)
        return not outcome.violation
    for line in outcome.log:
        print(line)
    print(_told(outcome) if outcome.violation else f"seed {seed}: no rule broken")
    return not outcome.violation


def many(
    level: str, *, first: int | None, seeds: int | None, seconds: float | None, as_json: bool
) -> bool:
    """Run many on every core and print those that failed; was no rule broken?

    `first` None: seeds that nobody has tried. Raises SeedsStuck.
    """

    def tell(outcome: Outcome) -> None:
        if outcome.violation and not as_json:
            print(*outcome.log, _told(outcome), sep="\n", flush=True)

    begin = fresh() if first is None else first
    found = run_seeds(level, first=begin, seeds=seeds, seconds=seconds, on_outcome=tell)
    if as_json:
        _document(found)
    else:
        print(f"from {begin}: {found.line}")
    return not found.failed


def _told(outcome: Outcome) -> str:
    failed = failure(outcome)
    return f"seed {failed.seed}: {failed.violation}; repeat it: {failed.command}"


def _document(found: msgspec.Struct) -> None:
    print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False))
    sys.stdout.flush()
