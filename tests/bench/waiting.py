"""Rows about callers who wait: how fast an agent gets the next one, what each costs."""

import socket
import statistics
import time
from pathlib import Path
from typing import Any

from tests.bench.cluster import Processes, cpu_s, idle_cpu, measured, percentile, say
from tests.bench.phones import Desk, Phones, description
from tests.e2e.cluster import until

WAITING = 5_000
LISTENERS = 200
FILL_RATE = 100
"""Callers a second while the queue fills: well below what the cluster carries."""
PAUSE_S = 0.05
"""An agent talks so long before he hangs up."""
TRANSACTIONS_S = 36
"""After so long no transaction of the filling is left (64*T1, RFC 6026)."""


def waiting(*, quick: bool) -> dict[str, dict[str, Any]]:
    """Both rows that need a long queue: `bye_to_invite` and `waiting_memory`."""
    count = 1_000 if quick else WAITING
    samples = 100 if quick else 500
    with measured(nodes=2, agents=1) as (cluster, host), Phones(host) as phones:
        processes = Processes(cluster)
        before = processes.memory_kib()
        phones.on_desk = lambda desk, now: phones.answer(desk)
        fill(phones, count + 1)
        active, _ = cluster.active()
        full = processes.memory_kib()
        if not quick:
            say("waiting until the transactions of the filling are over")
            time.sleep(TRANSACTIONS_S)  # a time that the protocol sets, not a wait for a result
        settled = processes.memory_kib()
        assert cluster.shard()["waiting"] == count
        latencies = hang_ups(phones, samples)
        phones.check()
    names = {role: "active" if role == active else "standby" for role in ("n1", "n2")}
    parts = {
        names.get(role, role): round((settled[role] - before[role]) / count, 2) for role in before
    }
    return {
        "bye_to_invite": {
            "p50_ms": round(percentile(latencies, 0.5), 2),
            "p99_ms": round(percentile(latencies, 0.99), 2),
            "max_ms": round(max(latencies), 2),
            "waiting": count,
            "samples": len(latencies),
        },
        "waiting_memory": {
            "kib": round(sum(settled[role] - before[role] for role in before) / count, 1),
            "kib_by_process": parts,
            "kib_just_filled": round(sum(full[role] - before[role] for role in before) / count, 1),
            "waiting": count,
        },
    }


def fill(phones: Phones, count: int, *, rate: float = FILL_RATE) -> None:
    """So many callers more are answered."""
    wanted = phones.up + count
    say(f"{count} callers call")
    phones.ring(count, rate)

    def there() -> bool:
        phones.check()
        assert not phones.lost, f"{len(phones.lost)} callers had no answer"
        return phones.up >= wanted

    until(f"{wanted} callers are answered", there, 60 + 3 * count / rate)
    if phones.refused:
        say(f"{phones.refused} had to call again: the machine is busy with something else")


def hang_ups(phones: Phones, samples: int) -> list[float]:
    """Milliseconds from the agent's BYE to his next INVITE."""
    found: list[float] = []
    said: list[float] = []

    def rang(desk: Desk, now: float) -> None:
        if said:
            found.append((now - said.pop()) * 1_000)
        phones.answer(desk)
        phones.later(PAUSE_S, lambda: bye(desk))

    def bye(desk: Desk) -> None:
        if len(found) < samples:
            said.append(time.monotonic())
            phones.hang_up(desk)
            phones.over(desk)

    phones.on_desk = rang
    phones.do(lambda: bye(next(iter(phones.desks.values()))))
    until("the agent has had his calls", lambda: len(found) >= samples, 60 + samples)
    return found


def music(*, quick: bool) -> dict[str, Any]:
    """CPU of the media server for a caller who listens to music."""
    seconds, rounds = (4.0, 3) if quick else (8.0, 5)
    with measured(nodes=2, agents=0) as (cluster, host), sink(host) as hearing:
        port = hearing.getsockname()[1]
        processes = Processes(cluster)
        media = processes.pids["media"]
        idle = idle_cpu(processes)["media"]
        with Phones(host, sdp=description(host, port, "sendrecv")) as phones:
            fill(phones, LISTENERS, rate=50)
            until("all wait", lambda: cluster.shard()["waiting"] == LISTENERS)
            time.sleep(1)  # the commands' cost is not the music's
            shares = []
            packets = 0
            for _ in range(rounds):
                heard = dropped(host, port)
                spent, began = cpu_s(media), time.monotonic()
                time.sleep(seconds)
                took = time.monotonic() - began
                shares.append((cpu_s(media) - spent) / took - idle)
                packets = round((dropped(host, port) - heard) / took)
            phones.check()
    per_s = 50 * LISTENERS
    assert packets > 0.98 * per_s, f"{packets} of {per_s} packets a second"
    return {
        "percent_of_a_core": round(100 * statistics.median(shares) / LISTENERS, 4),
        "listeners": LISTENERS,
        "packets_per_s": packets,
    }


def sink(host: str) -> socket.socket:
    """A port that takes RTP for everybody and reads nothing: the kernel drops and counts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    sock.bind((host, 0))
    return sock


def dropped(host: str, port: int) -> int:
    """Datagrams that came to this socket and were dropped, from /proc/net/udp."""
    wanted = f"{bytes(reversed(socket.inet_aton(host))).hex().upper()}:{port:04X}"
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted:
            return int(fields[12])
    raise AssertionError(wanted)
