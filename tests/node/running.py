"""Starts `keepline up` for a test and sees that nothing of it is left afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from node.directory import Directory

KEEPLINE = [sys.executable, "-P", "-m", "node"]


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_centre(folder: Path, sip_port: int) -> Path:
    """A centre with one shard, at this port."""
    file = folder / "centre.yaml"
    file.write_text(
        f'shards: {{main: {{sip: "127.0.0.1:{sip_port}"}}}}\n'
        'numbers: {"4001": {queue: support}}\n'
        "queues: {support: {}}\n"
        'agents: {"1001": {phone: "sip:1001@127.0.0.1:9", queues: [support]}}\n'
    )
    return file


def keepline(*words: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*KEEPLINE, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def until(fact: Callable[[], Any], deadline_s: float = 30) -> Any:
    """Wait until `fact()` is true and answer it."""
    end = time.monotonic() + deadline_s
    while not (found := fact()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


class Up:
    """A running `keepline up`."""

    def __init__(self, centre: Path, data: Path, nodes: int, *words: str) -> None:
        self.data = data
        self.output = data.parent / f"{data.name}.out"
        command = [*KEEPLINE, "up", "-c", str(centre), "--nodes", str(nodes), "--data", str(data)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *words], stdout=output, stderr=subprocess.STDOUT
            )

    def started(self) -> "Up":
        """Wait until every process was started."""
        until(lambda: self.process.poll() is not None or "starting;" in self.output.read_text())
        assert self.process.poll() is None, self.output.read_text()
        return self

    def nodes(self) -> dict[str, int]:
        """Name and process id of each node."""
        return {node["name"]: node["pid"] for node in Directory(self.data).known_nodes()}

    def status(self, *words: str) -> Any:
        done = keepline("status", "--data", self.data, "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self) -> int:
        """Stop it as Ctrl-C does and answer its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def end(self) -> None:
        """Leave no process behind, however the test went."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid, _ in Directory(self.data).holders():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not Directory(self.data).holders())


@contextlib.contextmanager
def up(folder: Path, *, nodes: int = 2) -> Iterator[Up]:
    """A started cluster of one shard in `folder`."""
    centre = write_centre(folder, free_udp_port())
    running = Up(centre, folder / "data", nodes)
    try:
        yield running.started()
    finally:
        running.end()
