"""Commands to a running simulation: a JSON object a line, each answered by one.

    {"mark": "fault"}              → {"ok": true, "ms": 81234}     a moment the verdict asks about
    {"release": true}              → {"ok": true}                  talkers may end their talks
    {"calls": 50, "rate": 20}      → {"ok": true}                  more callers
    {"hang_up": 3}                 → {"ok": true, "left": 3}       so many agents who talk hang up
    {"probe": true}                → {"ok": true}                  an OPTIONS in a call, each tick
    {"state": true}                → {"ok": true, "state": {...}}  how many wait, talk, ring
    {"report": true}               → {"ok": true, "report": {...}} the verdict so far
    {"hangup_all": true}           → {"ok": true}                  everybody hangs up
    {"stop": true}                 → {"ok": true}                  and the run ends

A verdict takes time that the phones do not have: their audio would stutter. So a report is made by
a fork of this process, which sees everything as it was at that moment.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from loadtest.io.crowd import Crowd

LINE_MAX = 1 << 16
CALLS_MAX = 100_000
NICE_OF_REPORT = 15
"""Added to the niceness of the process that makes a report."""


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    mark: str = ""
    release: bool = False
    calls: int = 0
    rate: float = 0.0
    state: bool = False
    report: bool = False
    hang_up: int = 0
    probe: bool | None = None
    hangup_all: bool = False
    stop: bool = False


async def command(crowd: Crowd, line: bytes) -> bytes:
    """Do what one line says; its answer, as a line. A bad line is answered with "error"."""
    try:
        wanted = msgspec.json.decode(line, type=_Command)
    except msgspec.DecodeError as error:
        return msgspec.json.encode({"ok": False, "error": str(error)}) + b"\n"
    answer: dict[str, Any] = {"ok": True}
    if wanted.mark:
        answer["ms"] = crowd.mark(wanted.mark)
    if wanted.release:
        crowd.release()
    if 0 < wanted.calls <= CALLS_MAX:
        crowd.call(wanted.calls, wanted.rate if wanted.rate > 0 else crowd.options.rate)
    if wanted.hang_up > 0:
        answer["left"] = crowd.hang_up(wanted.hang_up)
    if wanted.probe is not None:
        crowd.probe(on=wanted.probe)
    if wanted.hangup_all:
        crowd.hang_up_all()
    if wanted.state:
        answer["state"] = crowd.state()
    if wanted.report:
        report = await _report(crowd)
        if not report:
            return msgspec.json.encode({"ok": False, "error": "the report failed"}) + b"\n"
        answer["report"] = msgspec.Raw(report)
    if wanted.stop:
        crowd.stop()
    return msgspec.json.encode(answer) + b"\n"


async def _report(crowd: Crowd) -> bytes:
    """The report so far as JSON, made by a fork; empty when that failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.nice(NICE_OF_REPORT)
            with open(writing, "wb") as out:  # noqa: ASYNC230, PTH123  # nothing else runs here
                out.write(msgspec.json.encode(crowd.report(ended=False)))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    incoming = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(incoming),
        open(reading, "rb", buffering=0),  # noqa: ASYNC230, PTH123, SIM115  # the transport closes it
    )
    try:
        return await incoming.read()
    finally:
        pipe.close()
        os.waitpid(child, 0)  # noqa: ASYNC222  # it has closed the pipe, so it ends at once


@asynccontextmanager
async def serve(crowd: Crowd) -> AsyncIterator[None]:
    """Take commands for `crowd` as its options say, while the context lasts."""
    talks: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    def accept(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(crowd, incoming, outgoing))
        talks[outgoing] = task
        task.add_done_callback(lambda _: talks.pop(outgoing))

    server = None
    reader = None
    if crowd.options.control:
        server = await asyncio.start_unix_server(accept, crowd.options.control, limit=LINE_MAX)
    if crowd.options.stdin:
        reader = asyncio.create_task(_listen(crowd))
    try:
        yield
    finally:
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        if server is not None:
            server.close()
            await server.wait_closed()
            for outgoing in list(talks):
                outgoing.close()
            await asyncio.gather(*talks.values())
            with suppress(FileNotFoundError):
                os.unlink(crowd.options.control)  # nothing that could block


async def _converse(
    crowd: Crowd, incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter
) -> None:
    try:
        while line := await incoming.readline():
            outgoing.write(await command(crowd, line))
            await outgoing.drain()
    except (ConnectionError, ValueError):  # gone, or a line longer than LINE_MAX
        pass
    finally:
        outgoing.close()


async def _listen(crowd: Crowd) -> None:
    """Commands on standard input; its end ends the run."""
    incoming = asyncio.StreamReader(limit=LINE_MAX)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(incoming), sys.stdin.buffer
    )
    try:
        while line := await incoming.readline():
            sys.stdout.buffer.write(await command(crowd, line))
            sys.stdout.buffer.flush()
        crowd.stop()
    finally:
        pipe.close()
