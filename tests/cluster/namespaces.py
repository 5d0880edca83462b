"""Hosts on one machine: network namespaces, joined by a router that can be cut. Needs root.

Every host has a wire to the router, which is its only way to the other hosts, and one to this
machine, which is never cut. What is cut is lost as on a bad cable, packet by packet: nobody is
told, connections stay half open, and what was sent is sent again when all is well.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

INSIDE, OUTSIDE = "198.18", "198.19"
"""Kept for the trial of devices (RFC 2544 §C.2.2): nobody has addresses there for good."""
SUBNETS = 256
CUT = 10
"""The number of a cut's rules: those of the router's routes come after them."""

AS_HOST = 'hostname "$1"; test ! -e "$3" || mount --bind "$2" "$3"; shift 3; exec "$@"'
"""Of a shell: a name and a machine id of its own, then the command."""
MACHINE_ID = "/etc/machine-id"


class NoNamespaces(Exception):
    """They cannot be made or changed; the text is the one line a person needs."""


def missing() -> str:
    """Why there can be no namespaces here; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return "" if shutil.which("ip") else "missing: apt-get install iproute2"


class Namespaces:
    """`with Namespaces(folder, names) as net:` hosts of these names; leaves nothing behind."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.names = list(names)
        self._folder = folder
        self._tag = f"kl{secrets.token_hex(4)}"
        self._subnet = 0

    def __enter__(self) -> "Namespaces":
        """Raises NoNamespaces."""
        if why := missing():
            raise NoNamespaces(why)
        try:
            self._lay()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever was started there has to be ended before."""
        for place in range(len(self.names)):
            with contextlib.suppress(NoNamespaces):  # the kernel's own clearing comes later
                _ip("link", "del", self._wire(place))
        for name in (*self.names, ""):
            with contextlib.suppress(NoNamespaces):
                _ip("netns", "del", self.space(name))

    def space(self, name: str) -> str:
        """The namespace of a host, or the router's: ""."""
        return f"{self._tag}-{name or 'router'}"

    def inside(self, name: str) -> str:
        """Its address for the other hosts."""
        return f"{INSIDE}.{self._subnet}.{4 * self.names.index(name) + 2}"

    def outside(self, name: str) -> str:
        """Its address for this machine."""
        return f"{OUTSIDE}.{self._subnet}.{4 * self.names.index(name) + 2}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """What runs `words` there, in the very process that is started."""
        return ["ip", "netns", "exec", self.space(name), *words]

    def command_as_host(self, name: str, words: Sequence[str]) -> list[str]:
        """Likewise, and the process takes it for a machine of its own."""
        file = self._folder / f"{name}.machine-id"
        file.write_text(f"{self._tag}{name}\n")
        shell = ["unshare", "--uts", "sh", "-ec", AS_HOST, "sh", name, str(file), MACHINE_ID]
        return self.command(name, [*shell, *words])

    def cut(self, name: str, *, out: bool, into: bool) -> float:
        """No packet that it sends to other hosts (`out`), or is sent by them (`into`), arrives.

        When, in ms of the monotonic clock.
        """
        rules = [f"iif {self._port(name)}"] if out else []
        rules += [f"to {self.inside(name)}"] if into else []
        lines = [f"rule add pref {CUT} {rule} blackhole\n" for rule in rules]
        at_ms = time.monotonic_ns() / 1e6
        _ip("-n", self.space(""), "-batch", "-", said="".join(lines))
        return at_ms

    def heal(self) -> None:
        """All is well again."""
        while f"{CUT}:" in _ip("-n", self.space(""), "rule", "show").split():
            _ip("-n", self.space(""), "rule", "del", "pref", str(CUT))

    def _port(self, name: str) -> str:
        return f"port{self.names.index(name)}"

    def _wire(self, place: int) -> str:
        return f"{self._tag}{place}"

    def _lay(self) -> None:
        taken = _ip("-4", "addr", "show")
        draws = (secrets.randbelow(SUBNETS) for _ in range(SUBNETS))
        free = (draw for draw in draws if f" {OUTSIDE}.{draw}." not in taken)
        subnet = self._subnet = next(free, -1)
        if subnet < 0:
            raise NoNamespaces(f"no subnet of {OUTSIDE}.0.0/16 is free")
        for name in ("", *self.names):
            _ip("netns", "add", self.space(name))
            _ip("-n", self.space(name), "link", "set", "lo", "up")
        router = self.space("")
        _ip("netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for place, name in enumerate(self.names):
            space, port, wire = self.space(name), self._port(name), self._wire(place)
            peer = ["type", "veth", "peer", "name"]
            _ip("-n", router, "link", "add", port, *peer, "inside", "netns", space)
            _ip("link", "add", wire, *peer, "outside", "netns", space)
            for at, device, address in (
                (["-n", router], port, f"{INSIDE}.{subnet}.{4 * place + 1}"),
                (["-n", space], "inside", self.inside(name)),
                ([], wire, f"{OUTSIDE}.{subnet}.{4 * place + 1}"),
                (["-n", space], "outside", self.outside(name)),
            ):
                _ip(*at, "addr", "add", f"{address}/30", "dev", device)
                _ip(*at, "link", "set", device, "up")
            _ip("-n", space, "route", "add", "default", "via", f"{INSIDE}.{subnet}.{4 * place + 1}")


def _ip(*words: str, said: str = "") -> str:
    """What it answers. Raises NoNamespaces."""
    done = subprocess.run(["ip", *words], input=said, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()
        raise NoNamespaces(f"ip {' '.join(words)}: {why[-1] if why else 'failed'}")
    return done.stdout
