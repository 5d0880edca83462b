"""Polling 1,000 simulated gateways of 93 values each: `python -m tests.bench.gateways --help`.

Prints JSON. All gateways are due at once at the start, so that `first_s` and `again_s` are how long
the poller takes for everybody, in its own process, the simulator in another one.
"""

import argparse
import asyncio
import ipaddress
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from gateway_mgmt import oids
from gateway_mgmt.access import Community, User
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.process import Polling
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.traps import TrapPort
from gateway_mgmt.io.watch import Counted, Report
from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.engine import Engine
from gateway_mgmt.snmp.pdu import Pdu
from gateway_mgmt.traps import Desk, Sender
from gateway_mgmt.wire import Configure, Started

FIRST = "127.31.0.1"
PORT = 1_161


def devices(count: int, *, v3: bool, cycle_ms: int) -> dict[str, Device]:
    """3 values of the system, 15 of each of 4 lines, 6 of each of 5 ports: 93."""
    access = User("noc", "env:BENCH_AUTH", "env:BENCH_PRIVACY") if v3 else Community("env:BENCH")
    return {
        f"gw{n}": Device(
            site="bench",
            profile="generic",
            address=(str(ipaddress.IPv4Address(FIRST) + n - 1), PORT),
            access=access,
            interfaces=(5,),
            poll_ms=cycle_ms,
            spans={number: Span(number) for number in range(1, 5)},
        )
        for n in range(1, count + 1)
    }


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    os.environ.update(BENCH="public", BENCH_AUTH="authpass123", BENCH_PRIVACY="privpass123")
    simulator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.io.gateway_command", "--count", str(args.count)),
        *("--address", FIRST, "--port", str(PORT), "--sip-port", "0", "--stdin"),
        *("--auth", "env:BENCH_AUTH", "--privacy", "env:BENCH_PRIVACY"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert simulator.stdin is not None
    assert simulator.stdout is not None
    await simulator.stdout.readline()
    dead = {f"gw{n}" for n in range(1, args.count + 1) if args.dead and n % (100 // args.dead) == 0}
    for name in dead:
        simulator.stdin.write(f"gateway {name[2:]} dead\n".encode())
        await simulator.stdout.readline()
    polling = Polling(poller=args.poller)
    busy = await busy_loops(args.busy)
    try:
        await polling.start()
        found = devices(args.count, v3=args.v3, cycle_ms=args.cycle * 1_000)
        profiles = {"generic": shipped()["generic"]}
        if not args.rows:  # a cycle of steady state: the intervals are known
            profiles["generic"] = type(profiles["generic"])(title="bench", intervals=0)
        await polling.ask(Configure(found, profiles))
        return await follow(polling, args, dead)
    finally:
        await polling.close()
        for process in busy:
            process.kill()
            await process.wait()
        simulator.stdin.close()
        await simulator.wait()


async def burst(args: argparse.Namespace) -> dict[str, Any]:
    """All are sent before one is read."""
    keys = usm.master("sha", b"authpass123", b"privpass123")
    engine = Engine(b"\x80\x00\x00\x00\x05gw", 1, 0.0, {b"noc": keys}, salt=0)
    trap = Pdu(
        pdu.TRAP,
        1,
        varbinds=[
            pdu.number(oids.SYS_UPTIME, 5, ber.TIMETICKS),
            pdu.name(oids.TRAP_OID, oids.LINE_STATUS_CHANGE),
            pdu.number(f"{oids.LINE['status']}.1", 64),
        ],
    )
    messages = [
        engine.notify(n, b"noc", trap, 1.0) if args.v3 else pdu.encode_v2c(b"public", trap)
        for n in range(args.traps)
    ]
    port = TrapPort(("127.0.0.1", 0))
    senders = {"127.0.0.1": [Sender("tg1", b"public", b"noc", keys)]}
    desk = Desk(senders, engine_id=b"bench", boots=1, started_s=0, salt=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for message in messages:
            sock.sendto(message, port.address)
    began, cpu = time.monotonic(), time.process_time()
    port.start(desk, lambda hint: None)
    while desk.counts["taken"] + port.dropped < args.traps:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return {
        "version": "v3" if args.v3 else "v2c",
        "traps": args.traps,
        "taken": desk.counts["taken"],
        "dropped": port.dropped,
        "rcvbuf": port.rcvbuf,
        "drained_s": round(time.monotonic() - began, 3),
        "cpu_ms_each": round(1_000 * (time.process_time() - cpu) / args.traps, 3),
        "load": os.getloadavg()[0],
    }


async def busy_loops(count: int) -> list[asyncio.subprocess.Process]:
    words = (sys.executable, "-c", "while True: pass")
    return [await asyncio.create_subprocess_exec(*words) for _ in range(count)]


async def follow(polling: Polling, args: argparse.Namespace, dead: set[str]) -> dict[str, Any]:
    rounds: dict[str, int] = {}
    values = 0
    false_down: set[str] = set()
    alive = args.count - len(dead)
    ended: list[tuple[float, float]] = []
    began = 0.0
    counted = Counted("")
    async for message in polling.messages():
        match message:
            case Started():
                began = time.monotonic()
            case Counted():
                counted = message
                if time.monotonic() - began > args.seconds:
                    break
            case Report(reading=reading, device=name):
                down = any(o.condition == "unreachable" and o.is_on for o in message.observations)
                if down and name not in dead:
                    false_down.add(name)
                if reading is not None:
                    values += reading.asked - reading.missing
                    rounds[name] = rounds.get(name, 0) + 1
                    done = min(rounds.values()) if len(rounds) == alive else 0
                    if done > len(ended):
                        ended.append((time.monotonic() - began, cpu_s(polling.pid)))
                if len(ended) >= args.rounds and counted.polls:
                    break
    return {
        "poller": counted.poller,
        "version": "v3" if args.v3 else "v2c",
        "gateways": args.count,
        "dead": len(dead),
        "busy_loops": args.busy,
        "cycle_s": args.cycle,
        "round_ended_s": [round(at, 2) for at, _ in ended],
        "cpu_s": [round(cpu, 2) for _, cpu in ended],
        "cpu_ms_each": round(1_000 * cpu_s(polling.pid) / max(1, counted.polls), 2),
        "values": values,
        "false_down": sorted(false_down),
        "unknown": counted.unknown,
        "silent": counted.silent,
        "partial": counted.partial,
        "lag_worst_ms": round(counted.lag_worst_ms),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.gateways", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--poller", choices=("gufo", "pysnmp"), default="gufo")
    parser.add_argument("--v3", action="store_true")
    parser.add_argument("--cycle", type=int, default=5, metavar="S")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=120, help="at most")
    parser.add_argument("--dead", type=int, default=0, metavar="PERCENT")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="loops beside it")
    parser.add_argument("--rows", action="store_true", help="intervals are read, too")
    parser.add_argument("--traps", type=int, default=0, metavar="N", help="a burst of them instead")
    args = parser.parse_args()
    print(json.dumps(asyncio.run((burst if args.traps else measure)(args)), indent=1))


if __name__ == "__main__":
    main()
