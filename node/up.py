"""`keepline up`: a cluster on this machine, in the foreground.

Starts a media server and the nodes, each a process in a session of its own, starts again what dies,
and stops all of it in order when it is told to. Dies `up` itself, they go on: nobody's call depends
on it. All of them inherit the data directory's lock.
"""

import asyncio
import contextlib
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calls.centre import Centre
from cluster import placement
from cluster.identity import Files
from cluster.io.clock import now_ms
from cluster.io.security import Secure, files_in
from media_servers.io import launch
from node.config import load_centre
from node.directory import Directory
from node.drill import Drill
from node.first_centre import StartError, first_centre
from node.say import say
from node.store_options import StoreOptions

MAX_NODES = 9

BACKOFF_LEAST_MS = 500
BACKOFF_MOST_MS = 5_000
STEADY_MS = 10_000
"""Who lived this long is started again without further delay."""

STOP_MS = 10_000
"""How long a child may take to end before it is killed."""

PORTS = range(20_000, 30_000)
"""Where link, API and metrics listen: below the ports the kernel gives to clients."""

MEDIA_PORTS = (10_000, 19_999)


@dataclass
class Child:
    """A process that is kept running."""

    name: str
    title: str
    """What it is called in messages."""
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    started_ms: int = 0
    backoff_ms: int = BACKOFF_LEAST_MS
    start_ms: int = 0
    """When it is started again, while it is not running."""


@dataclass
class Plan:
    """What `up` is to run."""

    centre_file: Path
    centre: Centre
    """The file's, and then the one that stands."""
    directory: Directory
    nodes: int
    media_ports: tuple[int, int] = MEDIA_PORTS
    sounds: Path | None = None
    site: str = ""
    steady_ms: int = placement.STEADY_MS
    tls: dict[str, Files] = field(default_factory=dict)
    """Node name to its certificate; empty: none has one."""
    journal: str = "async"
    store: StoreOptions = field(default_factory=StoreOptions)
    drill: Drill = field(default_factory=Drill)
    links: dict[str, str] = field(default_factory=dict)
    """Node name to the address of its link and API."""
    metrics: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [f"n{number + 1}" for number in range(self.nodes)]


def plan(
    centre_file: Path,
    data: Path,
    nodes: int,
    *,
    media_ports: tuple[int, int],
    sounds: Path | None,
    site: str,
    tls: Path | None = None,
    store: StoreOptions,
) -> Plan:
    """The checked plan. Raises ConfigError, DirectoryError, NotSecure, StartError."""
    centre = load_centre(centre_file)
    directory = Directory(data)
    directory.prepare()
    if store.is_file:
        directory.check_store()
    made = Plan(centre_file, centre, directory, nodes, media_ports, sounds, site, store=store)
    if tls:
        made.tls = {name: files_in(tls.absolute() / name) for name in made.names}
        for name, files in made.tls.items():
            Secure(files, node=name)
    return made


def run(plan: Plan) -> int:
    """Run the cluster until a signal says stop.

    Raises ConfigError, DirectoryError, StartError at first.
    """
    lock = plan.directory.take()
    plan.centre = asyncio.run(
        first_centre(plan.directory, plan.centre_file, plan.centre, plan.store)
    )
    ports = free_ports(2 * plan.nodes)
    for name in plan.names:
        plan.links[name] = plan.drill.links.get(name) or f"127.0.0.1:{next(ports)}"
        plan.metrics[name] = next(ports)
    return Supervisor(plan, lock).run()


def free_ports(count: int) -> Iterator[int]:
    """TCP ports of loopback that nobody has. Raises StartError."""
    found: list[int] = []
    offset = os.getpid() * 31
    for step in range(len(PORTS)):
        port = PORTS[(offset + step) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return iter(found)
    raise StartError(f"no {count} free TCP ports from {PORTS.start} to {PORTS.stop - 1}")


class Supervisor:
    """Keeps the children of one `up` running."""

    def __init__(self, plan: Plan, lock: int) -> None:
        self.plan = plan
        self.lock = lock
        self.media = Child("media", "media server", media_command(plan))
        self.nodes = [Child(name, f"node {name}", node_command(plan, name)) for name in plan.links]
        self.signals: list[int] = []

    def run(self) -> int:
        """Start all, watch all; after a stopping signal, stop all and answer the exit status."""
        poll = select.poll()
        directory = self.plan.directory
        with self.wakes() as wake:
            poll.register(wake, select.POLLIN)
            for child in (self.media, *self.nodes):
                self.start(child)
            self.write_nodes()
            say("starting; calls are taken when this returns:")
            say(f"  keepline status --wait ready --data {shlex.quote(str(directory.path))}")
            while not self.signals:
                self.wait(poll)
                with contextlib.suppress(BlockingIOError):
                    wake.recv(64)
                self.restart_the_dead()
            return self.stop()

    @contextlib.contextmanager
    def wakes(self) -> Iterator[socket.socket]:
        """A socket that becomes readable when a stopping signal arrives."""
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda got, _: self.signals.append(got))
            try:
                yield reader
            finally:
                signal.set_wakeup_fd(-1)

    def wait(self, poll: select.poll) -> None:
        """Sleep until a child ends, a signal comes or a restart is due."""
        running = [child for child in (self.media, *self.nodes) if child.process]
        due = [child.start_ms for child in (self.media, *self.nodes) if not child.process]
        for child in running:
            poll.register(child.pidfd, select.POLLIN)
        poll.poll(max(0, min(due) - now_ms()) if due else None)
        for child in running:
            poll.unregister(child.pidfd)

    def start(self, child: Child) -> None:
        errors = self.plan.directory.logs / f"{child.name}.err"
        try:
            with errors.open("ab") as stderr:
                process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(self.lock,),
                    start_new_session=True,
                )
            child.pidfd = os.pidfd_open(process.pid)
        except OSError as error:  # full or removed disk, no more processes: calls go on meanwhile
            say(f"{child.title} cannot be started: {error.filename or errors}: {error.strerror}")
            self.wait_before_start(child)
            return
        child.process = process
        child.started_ms = now_ms()
        say(f"{child.title} started (pid {process.pid})")

    def wait_before_start(self, child: Child) -> int:
        """Set when it is started again; in so many ms."""
        wait_ms = child.backoff_ms
        child.start_ms = now_ms() + wait_ms
        child.backoff_ms = min(2 * wait_ms, BACKOFF_MOST_MS)
        return wait_ms

    def restart_the_dead(self) -> None:
        is_changed = False
        for child in (self.media, *self.nodes):
            if child.process is None and child.start_ms <= now_ms():
                self.start(child)
                is_changed = True
            elif child.process is not None and child.process.poll() is not None:
                self.bury(child)
        if is_changed:
            self.write_nodes()

    def bury(self, child: Child) -> None:
        """A child has ended: say so and set when it is started again."""
        assert child.process is not None
        lived_ms = now_ms() - child.started_ms
        if lived_ms >= STEADY_MS:
            child.backoff_ms = BACKOFF_LEAST_MS
        why = ended(child.process.returncode)
        wait_s = self.wait_before_start(child) / 1_000
        say(f"{child.title} (pid {child.process.pid}) {why}; starts again in {wait_s:g} s")
        if child.process.returncode > 0:
            errors = self.plan.directory.logs / f"{child.name}.err"
            say(f"  {last_line(errors) or 'it did not say why'}  (see {errors})")
        self.forget(child)

    def forget(self, child: Child) -> None:
        os.close(child.pidfd)
        child.process, child.pidfd = None, -1

    def write_nodes(self) -> None:
        """Tell where the nodes are to whoever looks into the data directory."""
        nodes = [
            {
                "name": child.name,
                "pid": child.process.pid if child.process else 0,
                "api": self.plan.links[child.name],
                "link": self.plan.links[child.name],
                "metrics": f"127.0.0.1:{self.plan.metrics[child.name]}",
                "site": self.plan.site,
                "tls": child.name in self.plan.tls,
            }
            for child in self.nodes
        ]
        with contextlib.suppress(OSError):  # a full disk must not end the cluster
            self.plan.directory.write_nodes(nodes)

    def stop(self) -> int:
        """Stop the nodes, which leave their snapshots, then the media server."""
        say("stopping")
        self.end(self.nodes)
        self.end([self.media])
        say("stopped")
        return 0

    def end(self, children: Sequence[Child]) -> None:
        """Ask the children to end; who has not after STOP_MS, or at a second signal, is killed."""
        running = [child for child in children if child.process]
        for child in running:
            child.process.terminate()  # type: ignore[union-attr]  # running has a process
            child.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]  # likewise
        patience_ms = now_ms() + STOP_MS
        signals = len(self.signals)
        for child in running:
            assert child.process is not None
            while True:
                try:
                    child.process.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    if now_ms() > patience_ms or len(self.signals) > signals:
                        say(f"{child.title} (pid {child.process.pid}) does not end: killed")
                        child.process.kill()
                        child.process.wait()
                        break
            self.forget(child)


def keepline(*words: str) -> list[str]:
    """The command line of another keepline process; -P: not what happens to lie in this folder."""
    return [sys.executable, "-P", "-m", "node", *words]


def node_command(plan: Plan, name: str) -> list[str]:
    known = plan.drill.peers(name, plan.links)
    peers = ",".join(f"{node}={address}" for node, address in known.items())
    tls = plan.tls.get(name)
    return keepline(
        "node",
        f"--name={name}",
        f"--data={plan.directory.path}",
        f"--listen={plan.links[name]}",
        f"--peers={peers}",
        f"--metrics-port={plan.metrics[name]}",
        f"--site={plan.site}",
        f"--steady={plan.steady_ms}ms",
        *([f"--tls={tls.cert.parent}"] if tls else []),
        f"--journal={plan.journal}",
        *plan.store.words(),
        *plan.drill.words(),
    )


def media_command(plan: Plan) -> list[str]:
    address = next(iter(plan.centre.shards.values())).sip[0]
    sounds = (plan.sounds.absolute(),) if plan.sounds else ()
    return launch.command(plan.directory.media_socket, address, plan.media_ports, sounds)


def ended(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def last_line(file: Path) -> str:
    """The last line of a file that is not empty, shortened."""
    try:
        lines = file.read_bytes()[-4_096:].decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
