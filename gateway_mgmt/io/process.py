"""The process that polls, from outside: started, told what to watch, listened to, ended."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec

from gateway_mgmt.io.watch import Counted, Report
from gateway_mgmt.wire import Configure, Poll, Started

LINE_BYTES_MAX = 64 << 20
END_S = 2

Message = Report | Started | Counted
_decoder = msgspec.json.Decoder(Message)


class PollingEnded(Exception):
    """It ended by itself; the text says with what status. Start another one, and configure it."""


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pipe: asyncio.ReadTransport


class Polling:
    """One such process. Its environment, with the secrets that it is referred to, is ours."""

    def __init__(self, *, poller: str = "auto", timeout_ms: int = 2_000) -> None:
        self._words = ["--poller", poller, "--timeout-ms", str(timeout_ms)]
        self._running: _Running | None = None

    async def start(self) -> None:
        """Raises OSError."""
        # By subprocess, which forks without a copy of our memory (vfork); uvloop would make one.
        process = await asyncio.to_thread(self._spawn)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(LINE_BYTES_MAX)
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, process.stdin
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        self._running = _Running(process, reader, writer, pipe)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway_mgmt.io", *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        return self._started.process.pid

    @property
    def _started(self) -> _Running:
        assert self._running is not None, "start() comes first"
        return self._running

    async def ask(self, wanted: Configure | Poll) -> None:
        """Configure comes first, and may come again: `Started` is its answer.

        Raises PollingEnded.
        """
        writer = self._started.writer
        try:
            writer.write(msgspec.json.encode(wanted) + b"\n")
            await writer.drain()
        except (ConnectionError, RuntimeError):  # uvloop raises the latter
            raise PollingEnded("the process that polls has ended") from None

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What it says, for ever. Raises PollingEnded."""
        running = self._started
        while line := await running.reader.readline():
            yield _decoder.decode(line)
        status = await asyncio.to_thread(running.process.wait)
        raise PollingEnded(f"the process that polls ended with status {status}")

    async def close(self) -> None:
        """End it, gently first."""
        running = self._running
        if running is None:
            return
        running.writer.close()
        await asyncio.to_thread(_end, running.process)
        running.pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
