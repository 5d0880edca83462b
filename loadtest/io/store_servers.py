"""Real servers of the coordination stores on one machine, each ended by its pid.

For tests and for `keepline chaos`: whoever runs a cluster runs its store elsewhere.
"""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from loadtest.io.stopping import wait_until_still

START_S = 40.0
"""A server is up, or again up, within this, however loaded the machine is."""
ETCD_TICKS = ("--heartbeat-interval=20", "--election-timeout=200")
"""In ms: fit for one machine or one LAN."""
JARS = Path("/usr/share/java")
ZOOKEEPER_JARS = ("zookeeper.jar", "netty-codec.jar", "netty-resolver.jar", "slf4j-simple.jar")
"""The first one names most of what it needs, but not the others."""
ZOOKEEPER_TICK_MS = 200


class ServersFailed(Exception):
    """They are not installed, or do not start; the text is the one line a person needs."""


def need(found: bool, package: str) -> None:
    if not found:
        raise ServersFailed(f"missing: apt-get install {package}")


def free_ports(host: str, count: int) -> list[int]:
    """TCP ports of this address that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Servers:
    """The members of one store, each a process."""

    kind = ""

    def __init__(self, folder: Path, members: int, host: str) -> None:
        self.folder = folder
        self.host = host
        self.members = range(members)
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.ports: list[int] = []
        """Of each member, for clients."""

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        return [(self.host, port) for port in self.ports]

    def url(self, prefix: str) -> str:
        places = ",".join(f"{host}:{port}" for host, port in self.endpoints)
        return f"{self.kind}://{places}/{prefix}"

    def command(self, member: int) -> Sequence[str]:
        raise NotImplementedError

    def is_up(self, member: int) -> bool:
        """Does it take part and answer?"""
        raise NotImplementedError

    def leader(self) -> int:
        """Raises ServersFailed when there is none."""
        raise NotImplementedError

    def start(self, *members: int) -> None:
        """Start these, by default all, and wait until they are up. Raises ServersFailed."""
        for member in members or self.members:
            with self._log(member).open("ab") as output:
                self.running[member] = subprocess.Popen(
                    self.command(member),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        for member in members or self.members:
            end = time.monotonic() + START_S
            while not self.is_up(member):
                if self.running[member].poll() is not None or time.monotonic() > end:
                    said = self._log(member).read_text(errors="replace").strip()[-2_000:]
                    raise ServersFailed(f"{self.kind} {member} is not up: {said}")
                time.sleep(0.05)

    def _log(self, member: int) -> Path:
        return self.folder / f"{self.kind}{member}.log"

    def kill(self, member: int) -> None:
        process = self.running.pop(member)
        process.kill()
        process.wait()

    def stop(self, member: int) -> None:
        """It hangs until `resume`."""
        self.running[member].send_signal(signal.SIGSTOP)
        wait_until_still(self.running[member].pid)

    def resume(self, member: int) -> None:
        self.running[member].send_signal(signal.SIGCONT)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait()
        self.running.clear()


class EtcdServers(Servers):
    """`use_tls` before the start: with the files' server certificate, for clients of the CA."""

    kind = "etcd"

    def __init__(self, folder: Path, members: int, host: str) -> None:
        """Raises ServersFailed."""
        need(shutil.which("etcd") is not None, "etcd-server")
        super().__init__(folder, members, host)
        ports = free_ports(self.host, 2 * members)
        self.ports, self.peer_ports = ports[:members], ports[members:]
        self.scheme = "http"
        self.tls: tuple[Path, Path, Path] | None = None

    def use_tls(self, ca: Path, cert: Path, key: Path) -> None:
        self.scheme, self.tls = "https", (ca, cert, key)

    def command(self, member: int) -> Sequence[str]:
        peers = [f"http://{self.host}:{port}" for port in self.peer_ports]
        here = f"{self.scheme}://{self.host}:{self.ports[member]}"
        data = self.folder / f"etcd{member}"
        words = [
            "etcd",
            f"--name=e{member}",
            f"--data-dir={data}",
            f"--listen-peer-urls={peers[member]}",
            f"--initial-advertise-peer-urls={peers[member]}",
            f"--listen-client-urls={here}",
            f"--advertise-client-urls={here}",
            f"--initial-cluster={','.join(f'e{n}={url}' for n, url in enumerate(peers))}",
            *ETCD_TICKS,
            "--logger=zap",
            "--log-level=error",
        ]
        if self.tls:
            ca, cert, key = self.tls
            words += [f"--cert-file={cert}", f"--key-file={key}", f"--trusted-ca-file={ca}"]
            words.append("--client-cert-auth")
        return words

    def post(self, member: int, path: str, **fields: Any) -> Any:
        """A call of etcd's JSON gateway, which knows nothing of our client."""
        context = None
        if self.tls:
            ca, cert, key = self.tls
            context = ssl.create_default_context(cafile=str(ca))
            context.load_cert_chain(cert, key)
            context.check_hostname = False  # that is what our client is tested for
        url = f"{self.scheme}://{self.host}:{self.ports[member]}/v3/{path}"
        token = {"Authorization": fields.pop("token")} if "token" in fields else {}
        asked = urllib.request.Request(url, json.dumps(fields).encode(), token)
        with urllib.request.urlopen(asked, timeout=2, context=context) as answer:
            return json.loads(answer.read())

    def is_up(self, member: int) -> bool:
        try:
            status = self.post(member, "maintenance/status")
        except (OSError, ValueError):
            return False
        return int(status.get("leader", 0)) != 0

    def leader(self) -> int:
        for member in self.running:
            with suppress(OSError):
                status = self.post(member, "maintenance/status")
                if status["leader"] == status["header"]["member_id"]:
                    return member
        raise ServersFailed(f"{self.kind} has no leader")


class ZooKeeperServers(Servers):
    """`use_tls` as with etcd."""

    kind = "zookeeper"

    def __init__(self, folder: Path, members: int, host: str) -> None:
        """Raises ServersFailed."""
        need((JARS / ZOOKEEPER_JARS[0]).exists(), "libzookeeper-java")
        need(shutil.which("java") is not None, "default-jre-headless")
        super().__init__(folder, members, host)
        ports = free_ports(self.host, 4 * members)
        self.plain_ports, self.peer_ports, self.election_ports, self.secure_ports = (
            ports[n * members : (n + 1) * members] for n in range(4)
        )
        self.ports = self.plain_ports
        for member in self.members:
            data = folder / f"zk{member}"
            data.mkdir()
            (data / "myid").write_text(f"{member}\n")
            lines = [
                f"tickTime={ZOOKEEPER_TICK_MS}",
                "initLimit=50",
                "syncLimit=10",
                f"minSessionTimeout={2 * ZOOKEEPER_TICK_MS}",
                "maxSessionTimeout=20000",
                f"dataDir={data}",
                f"clientPort={self.plain_ports[member]}",
                f"clientPortAddress={self.host}",
                "admin.enableServer=false",
                "4lw.commands.whitelist=*",
            ]
            if members > 1:
                lines += [
                    f"server.{n}={self.host}:{self.peer_ports[n]}:{self.election_ports[n]}"
                    for n in self.members
                ]
            (folder / f"zk{member}.cfg").write_text("\n".join(lines) + "\n")

    def use_tls(self, ca: Path, cert: Path, key: Path) -> None:
        both = self.folder / "server.pem"
        both.write_bytes(key.read_bytes() + cert.read_bytes())
        self.ports = self.secure_ports
        for member in self.members:
            lines = [
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
                f"secureClientPort={self.secure_ports[member]}",
                f"secureClientPortAddress={self.host}",
                f"ssl.keyStore.location={both}",
                "ssl.keyStore.type=PEM",
                f"ssl.trustStore.location={ca}",
                "ssl.trustStore.type=PEM",
            ]
            with (self.folder / f"zk{member}.cfg").open("a") as config:
                config.write("\n".join(lines) + "\n")

    def command(self, member: int) -> Sequence[str]:
        return [
            "java",
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            ":".join(str(JARS / name) for name in ZOOKEEPER_JARS),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(self.folder / f"zk{member}.cfg"),
        ]

    def _ask(self, member: int, word: bytes) -> str:
        try:
            with socket.create_connection((self.host, self.plain_ports[member]), 1) as line:
                line.settimeout(1)
                line.sendall(word)
                answer = b""
                while data := line.recv(4_096):
                    answer += data
                return answer.decode()
        except OSError:
            return ""

    def is_up(self, member: int) -> bool:
        return "Mode: " in self._ask(member, b"srvr")

    def leader(self) -> int:
        for member in self.running:
            if "Mode: leader" in self._ask(member, b"srvr"):
                return member
        raise ServersFailed(f"{self.kind} has no leader")


AnyServers = TypeVar("AnyServers", bound=Servers)


@contextmanager
def served(servers: AnyServers) -> Iterator[AnyServers]:
    """All members up; ended afterwards."""
    try:
        servers.start()
        yield servers
    finally:
        servers.end()
