"""keepline apply, diff and config as a person types them, and what `up` does with its file."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.running import Up, free_udp_port, keepline, until, up


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("apply"), nodes=2) as cluster:
        cluster.status("--wait", "ready")
        yield cluster


class Desk:
    """A person with a file and a cluster."""

    def __init__(self, running: Up, folder: Path) -> None:
        self.running = running
        self.file = folder / "new.yaml"

    def ask(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        return keepline(*words, "--data", self.running.data)

    def said(self, *words: str | Path, status: int = 0) -> list[str]:
        """The lines on stdout."""
        done = self.ask(*words)
        assert (done.returncode, done.stderr) == (status, "")
        return done.stdout.splitlines()

    def document(self, *words: str | Path, status: int = 0) -> Any:
        (line,) = self.said(*words, "--json", status=status)
        return json.loads(line)

    def refused(self, *words: str | Path, status: int) -> str:
        done = self.ask(*words)
        assert (done.returncode, done.stdout) == (status, "")
        (line,) = done.stderr.splitlines()
        return line.removeprefix("keepline: ")

    def stands(self) -> str:
        """The centre's file as it stands."""
        return "\n".join(self.said("config", "show"))

    def write(self, old: str = "", new: str = "") -> None:
        """The file: what stands, with this replaced."""
        text = self.stands()
        assert old in text
        self.file.write_text(text.replace(old, new, 1))


@pytest.fixture
def desk(running: Up, tmp_path: Path) -> Desk:
    return Desk(running, tmp_path)


def test_diff_and_apply_say_the_same_lines_and_then_there_is_no_difference(desk: Desk) -> None:
    before = desk.document("config", "show")["version"]
    desk.write("numbers:\n", 'numbers:\n  "4002": {queue: support}\n')
    lines = ["+ number 4002 → queue support"]

    assert desk.said("diff", "-f", desk.file, status=1) == lines
    assert desk.said("apply", "-f", desk.file, "--dry-run") == [
        *lines, f"nothing was changed: version {before} stands",
    ]  # fmt: skip
    assert desk.said("apply", "-f", desk.file) == [*lines, f"version {before + 1} is in force"]
    assert desk.said("diff", "-f", desk.file) == ["nothing would change"]
    assert desk.said("apply", "-f", desk.file) == [
        f"nothing to change: this is version {before + 1}"
    ]


def test_a_machine_reads_what_changed_and_which_version_stands(desk: Desk) -> None:
    before = desk.document("config", "show")["version"]
    desk.write("queues:\n", "max_calls: 77\nqueues:\n")
    change = {
        "change": "changed",
        "kind": "centre",
        "name": "",
        "fields": {"max_calls": [10000, 77]},
    }

    assert desk.document("diff", "-f", desk.file, status=1) == {
        "version": before, "changes": [change],
    }  # fmt: skip
    assert desk.document("apply", "-f", desk.file, "--based-on", str(before)) == {
        "version": before + 1, "changed": True, "changes": [change], "behind": [],
        "dry_run": False,
    }  # fmt: skip
    status = desk.running.status()
    assert status["centre"] == {"version": before + 1}
    assert {shard["version"] for shard in status["shards"]} == {before + 1}
    line = desk.refused("apply", "-f", desk.file, "--based-on", str(before), status=1)
    assert line.startswith(
        f"the change was made for version {before}, and version {before + 1}, by "
    )


def test_what_is_shown_can_be_applied_again(desk: Desk) -> None:
    version = desk.document("config", "show")["version"]
    desk.write()
    assert desk.file.read_text().startswith(f"# version {version} of the centre, by ")
    assert desk.said("diff", "-f", desk.file) == ["nothing would change"]


def test_an_older_version_comes_back_as_a_new_one(desk: Desk) -> None:
    old = desk.document("config", "show")
    desk.write("agents:\n", 'agents:\n  "1002": {phone: "sip:2@127.0.0.1:9", queues: [support]}\n')
    desk.said("apply", "-f", desk.file)
    assert desk.said("apply", "--version", str(old["version"])) == [
        "- agent 1002", f"version {old['version'] + 2} is in force",
    ]  # fmt: skip
    assert desk.document("config", "show")["centre"] == old["centre"]
    rows = desk.document("config", "history")
    assert [row["version"] for row in rows] == list(range(old["version"] + 2, 0, -1))
    assert (rows[0]["removed"], rows[1]["added"]) == (1, 1)
    table = desk.said("config", "history")
    assert len(table) == len(rows) + 2
    assert rows[0]["by"] in table[2]


def test_a_wrong_file_is_one_line_and_changes_nothing(desk: Desk) -> None:
    version = desk.document("config", "show")["version"]
    desk.file.write_text("numbers: {4001: {queue: nowhere}}\n")
    line = f"{desk.file}:1: numbers.4001.queue: 'nowhere' is no queue; known: none"
    assert desk.refused("diff", "-f", desk.file, status=2) == line
    assert desk.refused("apply", "-f", desk.file, status=2) == line
    # A file that is right by itself, and cannot follow what stands.
    desk.write("127.0.0.1:", "127.0.0.2:")
    for words, status in (("diff", 2), ("apply", 1)):
        line = desk.refused(words, "-f", desk.file, status=status)
        assert line.startswith(f"{desk.file}:4: shards.main.sip: must stay 127.0.0.1:")
    assert desk.document("config", "show")["version"] == version


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["apply"], "-f CENTRE.yaml or --version N is needed"),
        (["apply", "-f", "x", "--version", "2"], "-f CENTRE.yaml or --version N is needed"),
        (["apply", "--version", "0"], "Invalid value for '--version'"),
        (["diff"], "-f CENTRE.yaml is needed"),
        (["diff", "-f", "/nowhere.yaml"], "/nowhere.yaml: cannot be read: No such file"),
    ],
)
def test_a_wrong_command_is_one_line(desk: Desk, words: list[str], line: str) -> None:
    assert line in desk.refused(*words, status=2)


def test_diff_without_a_cluster_is_no_difference_that_was_found(tmp_path: Path) -> None:
    file = tmp_path / "centre.yaml"
    file.write_text("numbers: {}\n")
    for words, status in (("diff", 2), ("apply", 1)):
        done = keepline(words, "-f", file, "--data", tmp_path)
        assert (done.returncode, done.stdout) == (status, "")
        assert "no cluster was started here" in done.stderr


def test_up_applies_a_new_file_and_leaves_what_was_applied_since_alone(tmp_path: Path) -> None:
    with up(tmp_path, nodes=1) as first:
        first.status("--wait", "ready")
        original = (tmp_path / "centre.yaml").read_text()
        changed = tmp_path / "changed.yaml"
        changed.write_text(original + "max_calls: 7\n")
        assert keepline("apply", "-f", changed, "--data", first.data).returncode == 0
        first.stop()
        assert "centre: version 1, from " in first.output.read_text()

        # The same file again: what was applied since stays.
        file = tmp_path / "centre.yaml"
        said = up_once(file, first.data)
        assert "centre: version 2, by " in said
        assert f"{file} is what version 1 was; keepline diff -f {file} shows" in said
        # What stands.
        said = up_once(changed, first.data)
        assert "centre: version 2, by " in said
        assert "was; keepline" not in said
        # A file that says something new, an address that changed while nobody runs included.
        port = free_udp_port()
        fresh = original.replace("support: {}", "support: {wrap_up: 9s}")
        old_port = original.partition("127.0.0.1:")[2].partition('"')[0]
        file.write_text(fresh.replace(f"127.0.0.1:{old_port}", f"127.0.0.1:{port}"))
        said = up_once(file, first.data)
        assert f"centre: version 3, from {file}; it was version 2" in said
        assert f"  ~ shard main: sip 127.0.0.1:{old_port} → 127.0.0.1:{port}" in said
        assert "  ~ queue support: wrap_up 5s → 9s" in said
        assert "  ~ centre: max_calls 7 → 10000" in said
        # One that cannot follow.
        file.write_text(
            file.read_text()
            .replace("queues: {support: {", "queues: {support: {shard: other, ")
            .replace("shards: {", f'shards: {{other: {{sip: "127.0.0.1:{free_udp_port()}"}}, ')
        )
        done = keepline("up", "-c", file, "--nodes", "1", "--data", first.data)
        assert done.returncode == 2
        assert done.stderr.startswith(f"keepline: {file}:3: queues.support.shard: must stay main: ")


def up_once(file: Path, data: Path) -> str:
    """What `up` says until all is started; then it is stopped in order."""
    again = Up(file, data, 1)
    before = again.output.read_text() if again.output.exists() else ""
    try:
        until(
            lambda: "starting;" in again.output.read_text()[len(before) :] or again.process.poll()
        )
        assert again.process.poll() is None, again.output.read_text()
        again.status("--wait", "ready")
        again.stop()
    finally:
        again.end()
    return again.output.read_text()[len(before) :]
