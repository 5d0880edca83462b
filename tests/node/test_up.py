"""`keepline up`: what it starts, keeps running and stops, and what it refuses in one line."""

import os
import signal
import socket
from pathlib import Path

import pytest

from node.directory import Directory
from tests.node.running import Up, free_tcp_port, free_udp_port, keepline, until, up, write_centre


def refused(*words: str | Path) -> str:
    """The one line with which the command is refused as wrongly asked."""
    done = keepline(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("keepline: ")
    return line.removeprefix("keepline: ")


def test_a_wrong_centre_is_one_line(tmp_path: Path) -> None:
    centre = tmp_path / "centre.yaml"
    centre.write_text("numbers: {4001: {queue: nowhere}}\n")

    assert refused("up", "-c", centre, "--data", tmp_path / "data") == (
        f"{centre}:1: numbers.4001.queue: 'nowhere' is no queue; known: none"
    )


def test_a_sip_port_in_use_is_one_line_and_nothing_was_started(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        centre = write_centre(tmp_path, port)

        assert refused("up", "-c", centre, "--data", tmp_path / "data") == (
            f"udp 127.0.0.1:{port} (SIP of shard main) is in use by another process"
        )
    assert Directory(tmp_path / "data").known_nodes() == []


def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    centre = tmp_path / "centre.yaml"
    centre.write_text('shards: {main: {sip: "192.0.2.1:5060"}}\n')

    assert refused("up", "-c", centre, "--data", tmp_path / "data") == (
        "udp 192.0.2.1:5060 (SIP of shard main) is no address of this machine"
    )


def test_a_data_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    centre = write_centre(tmp_path, free_udp_port())

    assert refused("up", "-c", centre, "--data", centre / "below") == (
        f"{centre}/below: cannot be written: Not a directory"
    )
    # Where nobody may write, root neither.
    assert "cannot be written" in refused("up", "-c", centre, "--data", "/proc/keepline")


def test_a_data_directory_too_long_for_a_socket_is_one_line(tmp_path: Path) -> None:
    centre = write_centre(tmp_path, free_udp_port())

    assert "too long for a socket" in refused("up", "-c", centre, "--data", tmp_path / ("x" * 100))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["up"], "Missing option '--centre' / '-c'."),
        (["up", "--nodes", "none"], "Invalid value for '--nodes'"),
        (["up", "-c", "x", "--data", "y", "--media-ports", "9"], "no range of ports"),
        (["up", "-c", "x", "--data", "y", "--sounds", "/nowhere"], "/nowhere is no folder"),
        (["dial", "4001"], "No such command 'dial'."),
        (["status"], "which cluster? --data DIR or --connect HOST:PORT"),
        (["status", "--data", "x", "--wait", "rain"], "only 'ready' can be waited for"),
        (["status", "--data", "x", "--timeout", "soon"], "'soon' is no time like 30s"),
        (["agent", "1001", "asleep", "--data", "x"], "is not ready, not_ready or signed_out"),
    ],
)
def test_a_wrong_command_is_one_line(words: list[str], line: str) -> None:
    assert line in refused(*words)


def test_a_directory_without_a_cluster_is_told(tmp_path: Path) -> None:
    done = keepline("status", "--data", tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        f"keepline: {tmp_path}: no cluster was started here; keepline up --data {tmp_path}\n"
    )


def test_a_second_up_on_a_directory_is_refused_and_names_who_is_there(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        line = refused("up", "-c", tmp_path / "centre.yaml", "--data", first.data)

        assert line.startswith(f"{first.data}: in use by keepline up (pid {first.process.pid})")
        for name, pid in first.nodes().items():
            assert f"node {name} (pid {pid})" in line
        assert line.endswith("; stop them first")
        assert first.process.poll() is None


def test_when_up_is_killed_its_nodes_go_on_and_a_second_up_is_refused(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        first.status("--wait", "ready")
        nodes = first.nodes()
        first.process.kill()
        first.process.wait()
        line = refused("up", "-c", tmp_path / "centre.yaml", "--data", first.data)

        assert all(f"node {name} (pid {pid})" in line for name, pid in nodes.items())
        assert "media server (pid" in line
        assert "keepline up" not in line
        assert all(node["alive"] for node in first.status()["nodes"])


def test_a_node_that_dies_is_started_again_and_up_says_who_serves_now(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        status = running.status("--wait", "ready")
        active = next(node for node in status["nodes"] if node["name"] == "n1")
        assert status["shards"][0]["active"] == "n1"
        os.kill(active["pid"], signal.SIGKILL)
        until(lambda: running.nodes()["n1"] not in (0, active["pid"]))
        after = running.status("--wait", "ready")

        assert after["shards"][0]["active"] == "n2"
        said = running.output.read_text()
        assert f"node n1 (pid {active['pid']}) was killed by SIGKILL; starts again in 0.5 s" in said
        assert f"shard main is served by n2, epoch {status['shards'][0]['epoch'] + 1}" in said


def test_a_node_that_cannot_be_started_is_tried_again_and_up_goes_on(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.status("--wait", "ready")
        logs = running.data / "logs"
        logs.rename(running.data / "elsewhere")
        os.kill(running.nodes()["n2"], signal.SIGKILL)
        told = f"node n2 cannot be started: {logs / 'n2.err'}: No such file or directory"
        until(lambda: told in running.output.read_text())
        (running.data / "elsewhere").rename(logs)

        after = running.status("--wait", "ready")
        assert all(node["alive"] for node in after["nodes"])


def test_a_media_server_that_dies_is_started_again(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.status("--wait", "ready")
        (media,) = (pid for pid, what in Directory(running.data).holders() if "media" in what)
        os.kill(media, signal.SIGKILL)
        until(lambda: running.output.read_text().count("media server started") == 2)

        assert running.status("--wait", "ready")["media"][0]["up"]


def test_ctrl_c_stops_everything_and_the_next_up_goes_on(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        epoch = first.status("--wait", "ready")["shards"][0]["epoch"]
        assert first.stop() == 0
        assert Directory(first.data).holders() == []
        assert first.output.read_text().endswith("\nstopped\n")

        second = Up(tmp_path / "centre.yaml", first.data, 2)
        try:
            shard = second.started().status("--wait", "ready")["shards"][0]
            assert shard["epoch"] > epoch
        finally:
            second.end()


def test_a_node_whose_name_another_process_has_is_one_line_and_disturbs_nobody(
    tmp_path: Path,
) -> None:
    with up(tmp_path) as running:
        before = running.status("--wait", "ready")
        pid = running.nodes()["n1"]
        link = next(n["link"] for n in Directory(running.data).known_nodes() if n["name"] == "n1")

        def second(*words: str) -> str:
            port = free_tcp_port()
            done = keepline(
                "node", "--name=n1", f"--data={running.data}", f"--centre={tmp_path}/centre.yaml",
                f"--listen=127.0.0.1:{port}", *words,
            )  # fmt: skip
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            return line

        assert second() == (
            f"keepline node n1: cannot start: {running.data}/journals/n1: process {pid} is this "
            "node already; stop it first"
        )
        assert second("--journal=off").startswith(
            f"keepline node n1: cannot start: node n1 runs already as process {pid}, {link} on host"
        )
        after = running.status()
        assert (after["shards"], after["nodes"]) == (before["shards"], before["nodes"])
