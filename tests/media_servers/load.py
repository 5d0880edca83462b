"""`python tests/media_servers/load.py [--calls 100] [--listeners 120] ...`

Load on one embedded media server, figures as JSON: its CPU, the delay that its relaying adds, the
gaps between the packets of music that it sends. Run by hand; no test asserts wall-clock times.

The phones are one process (this one). Each packet bears the time of its sending; arrivals are
stamped by the kernel, so how busy the phones are does not enter into the delays.
"""

import argparse
import asyncio
import json
import os
import resource
import select
import socket
import struct
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from media_servers import verbs
from media_servers.io import launch
from media_servers.io.client import Client
from rtp import packet
from sip import sdp

STAMP = struct.Struct("<q")
SO_TIMESTAMPNS = 35
ANCILLARY = socket.CMSG_SPACE(16)


class Phone:
    """A socket that sends 50 packets a second and stamps what arrives."""

    def __init__(self, n: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.to = ("127.0.0.1", 0)
        self.seq = n
        self.ssrc = n
        self.at_ns = 0
        self.last_seq = -1
        self.received = 0
        self.missing = 0
        self.frame = bytearray(172)

    def offer(self) -> str:
        port = self.socket.getsockname()[1]
        return sdp.offer(address="127.0.0.1", port=port, session_id=1, version=1)

    def send(self) -> None:
        self.seq += 1
        packet.HEADER.pack_into(
            self.frame, 0, 0x80, 0, self.seq & 0xFFFF, self.seq * 160 & 0xFFFFFFFF, self.ssrc
        )
        STAMP.pack_into(self.frame, 12, time.time_ns())
        with suppress(BlockingIOError):
            self.socket.sendto(self.frame, self.to)

    def receive(self, delays: list[float], gaps: list[float], *, talks: bool) -> None:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(2048, ANCILLARY)
        except BlockingIOError:
            return
        seconds, nanos = struct.unpack("qq", ancillary[0][2])
        at_ns = seconds * 1_000_000_000 + nanos
        seq = packet.HEADER.unpack_from(data)[2]
        if self.last_seq >= 0 and (ahead := (seq - self.last_seq) & 0xFFFF) < 0x8000:
            self.missing += ahead - 1
        self.last_seq = seq
        if talks:
            delays.append((at_ns - STAMP.unpack_from(data, 12)[0]) / 1e6)
        elif self.at_ns:
            gaps.append((at_ns - self.at_ns) / 1e6)
        self.at_ns = at_ns
        self.received += 1


def spread(values: list[float]) -> dict[str, float]:
    values.sort()
    if not values:
        return {}
    return {
        name: round(values[min(len(values) - 1, int(part * len(values)))], 3)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    } | {"min": round(values[0], 3)}


def run(
    talkers: list[Phone], listeners: list[Phone], seconds: float, *, silent: bool
) -> dict[str, object]:
    """Let all send and receive for so long."""
    epoll = select.epoll()
    by_fd = {}
    for phone in talkers + listeners:
        by_fd[phone.socket.fileno()] = (phone, phone in talkers)
        epoll.register(phone.socket.fileno(), select.EPOLLIN)
    everyone = talkers + listeners
    speaking = talkers if silent else everyone
    slots = [speaking[n::20] for n in range(20)]
    delays: list[float] = []
    gaps: list[float] = []
    begin = time.monotonic()
    step = 0
    while (now := time.monotonic()) < begin + seconds:
        while begin + step * 0.001 <= now:
            for phone in slots[step % 20]:
                phone.send()
            step += 1
        for fd, _ in epoll.poll(0.001, 256):
            phone, talks = by_fd[fd]
            phone.receive(delays, gaps, talks=talks)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        for fd, _ in epoll.poll(0.01, 256):
            phone, talks = by_fd[fd]
            phone.receive(delays, gaps, talks=talks)
    return {
        "relayed_packets": len(delays),
        "added_delay_ms": spread(delays),
        "music_packets": len(gaps),
        "music_gap_ms": spread(gaps),
        "missing": sum(phone.missing for phone in everyone),
    }


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(path: str, pid: int, args: argparse.Namespace) -> dict[str, object]:
    """Set the calls up, let them run, and say what it took."""
    client = Client(path, "load")
    await client.start()
    await client.wait_up(2_000)
    talkers: list[Phone] = []
    listeners: list[Phone] = []
    applies: list[tuple[verbs.Session, tuple[Phone, ...]]] = []
    for n in range(args.calls):
        a, b = Phone(4 * n + 1), Phone(4 * n + 3)
        talkers += [a, b]
        session = verbs.Session(f"talk-{n}", "main", 1)
        session = verbs.answer(session, "caller", a.offer())
        session = verbs.answer(session, "agent", b.offer())
        session = verbs.connect(session, "caller", "agent")
        if args.record:
            session = verbs.record(session, f"talk-{n}")
        applies.append((session, (a, b)))
    for n in range(args.listeners):
        phone = Phone(100_000 + n)
        listeners.append(phone)
        session = verbs.answer(verbs.Session(f"wait-{n}", "main", 1), "caller", phone.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        applies.append((session, (phone,)))
    begin = time.monotonic()
    done = await asyncio.gather(*(client.apply(one, 10_000) for one, _ in applies))
    apply_ms = (time.monotonic() - begin) * 1e3
    for applied, (_, phones) in zip(done, applies, strict=True):
        for phone, port in zip(phones, applied.ports.values(), strict=True):
            phone.to = ("127.0.0.1", port)
    await asyncio.to_thread(run, talkers, listeners, 1.0, silent=args.silent)
    await client.measure()
    for phone in talkers + listeners:
        phone.received = phone.missing = phone.at_ns = 0
        phone.last_seq = -1
    before, begin, mine = cpu_seconds(pid), time.monotonic(), time.process_time()
    figures = run(talkers, listeners, args.seconds, silent=args.silent)
    took = time.monotonic() - begin
    figures |= {
        "calls": args.calls,
        "listeners": args.listeners,
        "server_cpu_percent": round(100 * (cpu_seconds(pid) - before) / took, 1),
        "phones_cpu_percent": round(100 * (time.process_time() - mine) / took, 1),
        "apply_all_ms": round(apply_ms, 1),
    }
    await client.wait_up(2_000)
    figures |= (await client.measure())["server"]
    await client.close()
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--listeners", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--record", action="store_true", help="record every call")
    parser.add_argument("--silent", action="store_true", help="listeners send nothing, as SIPp")
    parser.add_argument("--normal", action="store_true", help="no real-time priority")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/media.sock"
        priority = "normal" if args.normal else "auto"
        process = launch.start(path, ports=(10000, 19999), priority=priority)
        if not args.normal:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_RTPRIO, (4, 4))
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(4))
        try:
            figures = await measure(path, process.pid, args)
        finally:
            code = launch.stop(process)
        figures["exit"] = code
        json.dump(figures, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    asyncio.run(main())
