"""How busy the machine was, and with what: what timings are worth."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Load:
    """How busy the machine was between two moments, and with what: what timings are worth."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._machine: list[int] = []
        self._ours: dict[tuple[str, int], int] = {}
        self._text = ""

    def begin(self, ours: Mapping[str, Sequence[int]]) -> None:
        """`ours`: process ids by what they are."""
        self._since_s = time.monotonic()
        self._machine = _machine_ticks()
        self._ours = _ticks(ours)

    def end(self, ours: Mapping[str, Sequence[int]]) -> None:
        if not self._machine:
            return
        passed_s = time.monotonic() - self._since_s
        machine = [now - old for now, old in zip(_machine_ticks(), self._machine, strict=True)]
        per_core = passed_s * os.sysconf("SC_CLK_TCK") / 100
        used: dict[str, int] = {}
        for (what, pid), ticks in _ticks(ours).items():
            used[what] = used.get(what, 0) + ticks - self._ours.get((what, pid), 0)
        idle, stolen = machine[3] + machine[4], machine[7]
        busy = sum(machine) - idle - stolen
        shares = {**used, "others": busy - sum(used.values()), "stolen": stolen, "idle": idle}
        self._machine = []
        self._text = "% of a core: " + " ".join(
            f"{what} {max(0, round(ticks / per_core))}" for what, ticks in shares.items()
        )

    def __str__(self) -> str:
        return self._text


def _machine_ticks() -> list[int]:
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    return [int(word) for word in first.split()[1:9]]


def _ticks(processes: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], int]:
    found = {}
    for what, pids in processes.items():
        for pid in pids:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found[what, pid] = int(words[11]) + int(words[12])
    return found
