"""A real cluster under measurement: its processes, what they cost, and a clean end."""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.cluster import Cluster, own_address, running

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PORT_OF_AGENTS = 7001
MEDIA_PORTS = ("--media-ports", "10000-29999")
"""The default has room for 5,000 legs, and as many callers shall wait."""


def say(text: str) -> None:
    """Progress, for whoever waits; the figures go to stdout."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def measured(
    *, nodes: int, agents: int, phones: int = PORT_OF_AGENTS
) -> Iterator[tuple[Cluster, str]]:
    """A cluster with one shard and `agents` behind one port, and the address of everything."""
    host = own_address()
    lines = [
        'numbers: {"4001": {queue: support, prompt: ""}}',
        "queues: {support: {strategy: longest_idle, offer_timeout: 20s, wrap_up: 0s}}",
        f'shards: {{main: {{sip: "{host}:5060"}}}}',
        "agents:",
        *(
            f'  "{n}": {{phone: "sip:{n}@{host}:{phones}", queues: [support], state: ready}}'
            for n in range(10_001, 10_001 + agents)
        ),
    ]
    if not agents:
        lines[-1] = "agents: {}"
    with (
        tempfile.TemporaryDirectory(prefix="keepline-bench-") as folder,
        running(Path(folder), "\n".join(lines) + "\n", nodes=nodes, options=MEDIA_PORTS) as cluster,
    ):
        yield cluster, host


class Processes:
    """The processes of a cluster by what they are: n1, n2, …, media, up."""

    def __init__(self, cluster: Cluster) -> None:
        self.pids: dict[str, int] = {}
        for pid in cluster.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                self.pids[_role(words)] = pid

    def cpu_s(self) -> dict[str, float]:
        """User and system time of each so far."""
        return {role: cpu_s(pid) for role, pid in self.pids.items()}

    def memory_kib(self) -> dict[str, float]:
        """Proportional set size of each: shared pages count once over all who share them."""
        return {role: pss_kib(pid) for role, pid in self.pids.items()}


def _role(words: list[str]) -> str:
    if "media_servers.embedded.io" in words:
        return "media"
    name = next((word for word in words if word.startswith("--name=")), "--name=up")
    return name.partition("=")[2]


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def pss_kib(pid: int) -> float:
    """Proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise AssertionError(pid)


def idle_cpu(processes: Processes, seconds: float = 5.0) -> dict[str, float]:
    """What each process costs while nothing happens, in cores."""
    before = processes.cpu_s()
    began = time.monotonic()
    time.sleep(seconds)  # a measuring time, not a wait for a result
    took = time.monotonic() - began
    return {role: (spent - before[role]) / took for role, spent in processes.cpu_s().items()}


def loop_ns() -> float:
    """How fast this machine is just now: nanoseconds for one turn of an empty loop, CPU time."""
    found = []
    for _ in range(5):
        began = time.thread_time_ns()
        for _ in range(200_000):
            pass
        found.append((time.thread_time_ns() - began) / 200_000)
    return round(statistics.median(found), 1)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
