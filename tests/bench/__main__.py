"""`make bench`: the figures of the design, measured on this machine, as one JSON document.

    python -m tests.bench [ROW ...] [--quick]

Progress goes to stderr. No figure fails the run: `holds` says which are as the design wants them,
and `loop_ns` how fast the machine was just then, for it may be shared.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from tests.bench import alarms, hundred, large, queue, stack, switchover, takeover, waiting
from tests.bench.cluster import loop_ns, say

HOLD: dict[str, dict[str, float]] = {
    "parse_invite": {"us": 15},
    "signalling": {"ms": 0.5},
    "queue_cpu": {"ms": 3},
    "queue_rate": {"calls_per_s": 200},
    "bye_to_invite": {"p50_ms": 5, "p99_ms": 20},
    "waiting_memory": {"kib": 30},
    "music": {"percent_of_a_core": 0.1},
    "kill": {"p50_ms": 100, "max_ms": 400},
    "hang": {"p50_ms": 350, "max_ms": 700},
    "switchover": {"p50_ms": 50},
    "join": {"lost": 0, "doubled": 0, "share_missed": 0},
    "hundred_killed": {"max_ms": 1_000},
    "joiner": {"ms": 1_000},
    "large_takeover": {"ms": 500},
    "turn": {"ms": 20},
    "changes": {"percent_of_a_core": 50},
    "alarm_observation": {"us": 10},
}
"""By row: the figures to hold. All but `calls_per_s` are upper bounds."""
LOWER = ("calls_per_s",)


def measurement(row: str) -> Callable[..., dict[str, dict[str, Any]]]:
    """What gives the figures of a row, and of those that are measured with it."""
    alone: dict[str, Callable[..., dict[str, Any]]] = {
        "parse_invite": stack.parse_invite,
        "signalling": stack.signalling,
        "queue_cpu": queue.queue_cpu,
        "queue_rate": queue.queue_rate,
        "music": waiting.music,
        "kill": takeover.kill,
        "hang": takeover.hang,
        "switchover": switchover.switchover,
        "join": hundred.join,
        "hundred_killed": hundred.killed,
        "changes": large.changes,
        "alarm_observation": alarms.observation,
    }
    if row in alone:
        return lambda quick: {row: alone[row](quick=quick)}
    if row in ("joiner", "large_takeover", "turn"):
        return lambda quick: large.large(quick=quick)
    return lambda quick: waiting.waiting(quick=quick)


def judged(row: str, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures with what they should be."""
    holds = all(
        figures[name] is not None
        and (figures[name] >= limit if name in LOWER else figures[name] <= limit)
        for name, limit in HOLD[row].items()
    )
    return {**figures, "hold": HOLD[row], "holds": holds}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of: {', '.join(HOLD)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    args = parser.parse_args()
    unknown = [row for row in args.rows if row not in HOLD]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(HOLD)}")
    wanted = args.rows or list(HOLD)
    found: dict[str, dict[str, Any]] = {}
    for row in wanted:
        if row in found:
            continue
        say(row)
        speed = loop_ns()
        for name, figures in measurement(row)(quick=args.quick).items():
            found[name] = judged(name, figures) | {"loop_ns": speed}
            say(f"{name}: {json.dumps(found[name])}")
    document = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "quick": args.quick,
        "rows": {row: found[row] for row in HOLD if row in found},
    }
    print(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
