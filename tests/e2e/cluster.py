"""A real cluster for tests: `keepline up` as its users start it, ended by pid, leaving nothing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

KEEPLINE = [sys.executable, "-m", "node"]
_DRAW = random.SystemRandom()


def own_address() -> str:
    """A loopback address that no other test uses."""
    return f"127.{_DRAW.randint(16, 254)}.{_DRAW.randint(1, 254)}.{_DRAW.randint(2, 250)}"


def until(what: str, fact: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """Wait for a fact, with a deadline; what it gives when it is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


class Cluster:
    """`keepline up` in a directory of its own."""

    def __init__(
        self,
        folder: Path,
        centre: str,
        *,
        nodes: int = 3,
        command: Sequence[str] = KEEPLINE,
        options: Sequence[str] = (),
    ) -> None:
        """`options`: more of them for `up`."""
        self.command = command
        self.options = options
        self.data = folder / "data"
        self.centre = folder / "centre.yaml"
        self.centre.write_text(centre)
        self.nodes = nodes
        self.log = folder / "up.log"
        self._up: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self._up = subprocess.Popen(
                [*self.command, "up", "-c", str(self.centre), "--nodes", str(self.nodes),
                 "--data", str(self.data), *self.options],
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        if wait:
            self.ask("status", "--wait", "ready", "--timeout", "30s")

    def stop(self, timeout_s: float = 20.0) -> int:
        """As Ctrl-C does; the exit status."""
        assert self._up is not None
        self._up.send_signal(signal.SIGINT)
        return self._up.wait(timeout_s)

    def ended(self, timeout_s: float = 20.0) -> int:
        """Wait until it has ended by itself; the exit status."""
        assert self._up is not None
        status = self._up.wait(timeout_s)
        until("nothing of it is left", lambda: not self.processes())
        return status

    def destroy(self) -> None:
        """Whatever is left of it, by pid."""
        if self._up is not None and self._up.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            if self._up.poll() is None:
                self._up.kill()
                self._up.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("every process is gone", lambda: not self.processes())

    def processes(self) -> list[int]:
        """Everything that still runs with our data directory on its command line."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.data).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def run(self, *words: str, timeout_s: float = 40.0) -> subprocess.CompletedProcess[str]:
        """A keepline command on this cluster."""
        return subprocess.run(
            [*KEEPLINE, *words],
            env=os.environ | {"KEEPLINE_DATA": str(self.data)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextlib.contextmanager
    def beside(self, *words: str) -> Iterator[Path]:
        """A command that runs meanwhile; the file with what it prints."""
        said = self.data.parent / "beside.log"
        environment = os.environ | {"KEEPLINE_DATA": str(self.data)}
        with said.open("wb") as out:
            running = subprocess.Popen([*KEEPLINE, *words], env=environment, stdout=out)
        try:
            yield said
        finally:
            running.terminate()
            running.wait()

    def ask(self, *words: str) -> Any:
        """Its JSON document."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.log.read_text()}"
        return json.loads(done.stdout)

    def shard(self, name: str = "main") -> dict[str, Any]:
        found: dict[str, Any] = next(
            shard for shard in self.ask("status")["shards"] if shard["name"] == name
        )
        return found

    def active(self, name: str = "main") -> tuple[str, int]:
        """Name and pid of the shard's active node."""
        document = self.ask("status")
        active = next(shard for shard in document["shards"] if shard["name"] == name)["active"]
        return active, next(node["pid"] for node in document["nodes"] if node["name"] == active)

    def standby(self, name: str = "main") -> tuple[str, int]:
        """Name and pid of a node that is active for no shard if there is one, else of a standby."""
        document = self.ask("status")
        actives = {shard["active"] for shard in document["shards"]}
        nodes = [node for node in document["nodes"] if node["name"] not in actives]
        node = nodes[0] if nodes else document["nodes"][-1]
        return node["name"], node["pid"]

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(pid, number)


@contextlib.contextmanager
def running(
    folder: Path,
    centre: str,
    *,
    nodes: int = 3,
    command: Sequence[str] = KEEPLINE,
    options: Sequence[str] = (),
) -> Iterator[Cluster]:
    cluster = Cluster(folder, centre, nodes=nodes, command=command, options=options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()
