"""`python -m gateway_mgmt.io`: polls gateways, in a process of its own, so that no call feels it.

It is told what to watch on stdin and reports on stdout (`gateway_mgmt.wire`, `Report`, `Counted`).
It ends with its stdin. Exit 2: it cannot start; 3: nobody reads its reports.
"""

import argparse
import asyncio
import os
import resource
import sys
from contextlib import suppress

import msgspec

from gateway_mgmt.ds1 import Counters, Row
from gateway_mgmt.io.poller import TIMEOUT_MS, Poller, make
from gateway_mgmt.io.traps import TrapPort
from gateway_mgmt.io.watch import Counted, Report, Watcher
from gateway_mgmt.traps import Desk, Hint
from gateway_mgmt.wire import Configure, Poll, Started

FILES = 65_536
COUNTED_S = 5
LISTEN_AGAIN_S = 0.5
"""Who had the traps' address until now may be about to let it go."""
UNREAD_BYTES_MAX = 64 << 20
"""Reports that nobody reads; then the process ends. Whoever starts it again is told all anew."""
LINE_BYTES_MAX = 64 << 20
NICE = 5
"""Calls go before it."""


class Service:
    def __init__(self, poller: Poller, out: asyncio.WriteTransport, timeout_ms: int) -> None:
        self._poller = poller
        self._out = out
        self._timeout_ms = timeout_ms
        self._watcher: Watcher | None = None
        self._port: TrapPort | None = None
        self._desk: Desk | None = None
        self._wanted = Configure({}, {})
        self._error = ""
        self._started_s = asyncio.get_running_loop().time()

    async def configure(self, wanted: Configure) -> None:
        before = self._watcher
        if before is not None:
            await before.stop()
        watcher = Watcher(
            wanted.devices,
            wanted.profiles,
            self._poller,
            self._say,
            before=before,
            timeout_ms=self._timeout_ms,
        )
        for name, spans in wanted.known_ms.items():
            sight = watcher.sights.get(name)
            if sight is not None:
                known = [
                    (number, Row(start_ms, Counters()))
                    for number, starts in spans.items()
                    for start_ms in starts
                ]
                sight.knows(known)
        self._wanted = wanted
        self._error = self._listen(wanted, watcher)
        self._watcher = watcher
        watcher.start()
        self._say_started()

    def poll(self, device: str) -> None:
        """Ask it soon, if it is watched."""
        if self._watcher is not None:
            self._watcher.poke(Hint(device))

    def _say_started(self) -> None:
        port = self._port
        self._say(
            Started(
                self._poller.name,
                port.address if port else None,
                port.rcvbuf if port else 0,
                self._error,
            )
        )

    def _listen(self, wanted: Configure, watcher: Watcher) -> str:
        is_there = self._port is not None and wanted.traps == self._port.wanted
        if self._port is not None and not is_there:
            self._port.close()
            self._port = None
        if wanted.traps is None:
            return ""
        try:
            self._port = self._port or TrapPort(wanted.traps)
        except OSError as error:
            host, port = wanted.traps
            return f"traps: cannot listen at {host}:{port}: {error.strerror}"
        engine_id = bytes.fromhex(wanted.engine_id)
        self._desk = watcher.listen(
            self._port, engine_id=engine_id, boots=wanted.boots, started_s=self._started_s
        )
        return ""

    async def listened(self) -> None:
        """Gets the traps' address as soon as it is free."""
        while True:
            await asyncio.sleep(LISTEN_AGAIN_S)
            if self._error and self._watcher is not None:
                self._error = self._listen(self._wanted, self._watcher)
                if not self._error:
                    self._say_started()

    async def watched(self) -> None:
        """Counts every few seconds; ends with a bug of the watcher's. Raises it."""
        while True:
            await asyncio.sleep(COUNTED_S)
            watcher = self._watcher
            if watcher is None:
                continue
            if watcher.failed.done():
                watcher.failed.result()
            self._say(self.counted(watcher))

    def counted(self, watcher: Watcher) -> Counted:
        found = watcher.counted
        found.lag_ms = watcher.late_ms(COUNTED_S)
        if self._port is not None and self._desk is not None:
            found.traps = dict(self._desk.counts)
            found.trap_rcvbuf, found.trap_drops = self._port.rcvbuf, self._port.dropped
        return found

    def _say(self, message: Report | Started | Counted) -> None:
        self._out.write(msgspec.json.encode(message) + b"\n")
        if self._out.get_write_buffer_size() > UNREAD_BYTES_MAX:
            sys.stderr.write("gateway_mgmt: nobody reads the reports\n")
            os._exit(3)


async def serve(poller: Poller, timeout_ms: int) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    service = Service(poller, out, timeout_ms)

    async def follow() -> None:
        while line := await lines.readline():
            asked = msgspec.json.decode(line, type=Configure | Poll)
            if isinstance(asked, Configure):
                await service.configure(asked)
            else:
                service.poll(asked.device)

    tasks = [loop.create_task(work) for work in (service.watched(), service.listened(), follow())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        loop.set_exception_handler(lambda *_: None)  # answers that come too late are no faults
        poller.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="gateway_mgmt.io", description=__doc__)
    parser.add_argument("--poller", choices=("auto", "gufo", "pysnmp"), default="auto")
    parser.add_argument("--timeout-ms", type=int, default=TIMEOUT_MS)
    args = parser.parse_args()
    with suppress(OSError):
        os.nice(NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    try:
        poller = make(args.poller)
    except ImportError:
        sys.stderr.write("gateway_mgmt: gufo-snmp is not installed: keepline[fast-snmp]\n")
        return 2
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(poller, args.timeout_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
