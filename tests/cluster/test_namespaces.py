"""Hosts of their own on one machine: what is cut is lost in silence, and nothing is left behind."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.namespaces import Namespaces, missing

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=missing() or "none"),
]

PORT = 7_000
COUNT = """
import socket, sys
inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inbox.bind(("0.0.0.0", int(sys.argv[1])))
print(socket.gethostname(), open("/etc/machine-id").read().strip(), flush=True)
while True:
    print(inbox.recv(99).decode(), flush=True)
"""
SEND = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), (sys.argv[1], 7000))
"""


def send(net: Namespaces, host: str, to: str, word: str) -> None:
    words = [sys.executable, "-c", SEND, net.inside(to), word]
    subprocess.run(net.command(host, words), check=True, timeout=20)


def test_hosts_hear_each_other_until_they_are_cut_each_way(tmp_path: Path) -> None:
    listening = [sys.executable, "-c", COUNT, str(PORT)]
    with Namespaces(tmp_path, ["a", "b"]) as net:
        heard = {}
        for name in net.names:
            command = net.command_as_host(name, listening)
            heard[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            for name, process in heard.items():
                assert process.stdout
                host, machine = process.stdout.readline().split()
                assert host == name
                assert machine == Path(f"{tmp_path}/{name}.machine-id").read_text().strip()
            for word, out, into in (
                ("both", True, True),
                ("out", True, False),
                ("into", False, True),
            ):
                before_ms = time.monotonic_ns() / 1e6
                assert net.cut("a", out=out, into=into) >= before_ms
                send(net, "a", "b", word)
                send(net, "b", "a", word)
                net.heal()
                send(net, "a", "b", "healed")
                send(net, "b", "a", "healed")
        finally:
            for process in heard.values():
                process.kill()
        said = {name: process.communicate()[0].split() for name, process in heard.items()}
        assert said == {
            "a": ["healed", "out", "healed", "healed"],
            "b": ["healed", "healed", "into", "healed"],
        }
        tag = net.space("a").removesuffix("-a")
        assert tag in subprocess.check_output(["ip", "link"], text=True)
    for listing in (["ip", "netns"], ["ip", "link"], ["ip", "address"]):
        assert tag not in subprocess.check_output(listing, text=True)
