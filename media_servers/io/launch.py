"""Starts an embedded media server that outlives whoever started it."""

import os
import socket as sockets
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from media_servers.embedded import wire
from media_servers.verbs import Unreachable

STOP_S = 5.0


def start(
    socket: Path | str,
    address: str = "127.0.0.1",
    ports: tuple[int, int] = (10000, 19999),
    sounds: tuple[Path | str, ...] = (),
    *,
    recordings: Path | str | None = None,
    log: Path | str | None = None,
    priority: str = "auto",
    deadline_ms: int = 10_000,
) -> subprocess.Popen[bytes]:
    """Start one, in a session of its own, and wait until it answers. Raises Unreachable.

    Its output is appended to `log`; without, it is dropped.
    """
    with Path(log or os.devnull).open("ab") as output:
        process = subprocess.Popen(
            command(socket, address, ports, sounds, recordings=recordings, priority=priority),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    until = time.monotonic() + deadline_ms / 1000
    try:
        while serving(socket) != process.pid:
            if process.poll() is not None:
                raise Unreachable(f"the media server ended with {process.returncode}")
            if time.monotonic() > until:
                raise Unreachable(f"no answer from the media server in {deadline_ms} ms")
            time.sleep(0.01)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def command(
    socket: Path | str,
    address: str = "127.0.0.1",
    ports: tuple[int, int] = (10000, 19999),
    sounds: tuple[Path | str, ...] = (),
    *,
    recordings: Path | str | None = None,
    priority: str = "auto",
) -> list[str]:
    """The command line of one, for whoever watches its process himself.

    -P: what happens to lie in the current folder is not imported.
    """
    return [
        *(sys.executable, "-P", "-m", "media_servers.embedded.io"),
        *("--socket", str(socket), "--address", address),
        *("--ports", f"{ports[0]}-{ports[1]}", "--priority", priority),
        *(("--sounds", ":".join(map(str, sounds))) if sounds else ()),
        *(("--recordings", str(recordings)) if recordings else ()),
    ]


def stop(process: subprocess.Popen[bytes]) -> int:
    """End it as `kill` does, by force after five seconds; its exit code."""
    process.terminate()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def serving(socket: Path | str, timeout_s: float = 1.0) -> int | None:
    """The process id of the media server that answers at this socket; None if none does."""
    frames = wire.Frames()
    with suppress(OSError, wire.BadFrame), sockets.socket(sockets.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(socket))
        sock.sendall(wire.frame(wire.Hello(f"probe-{os.getpid()}-{time.monotonic_ns()}", {})))
        while data := sock.recv(65_536):
            frames.feed(data)
            for body in frames:
                reply = wire.reply(body)
                if isinstance(reply, wire.Welcome):
                    return reply.pid
    return None
