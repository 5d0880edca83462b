"""A node's log is bounded, and a disk that is full costs lines and nothing else."""

import json
from pathlib import Path

import pytest

from node.log_file import LogFile


def test_a_full_log_becomes_the_old_one_and_a_new_one_begins(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    file = LogFile(path, full_bytes=100)
    for n in range(30):
        file.msg(f"line {n:02}")
    file.close()

    lines = Path(f"{path}.1").read_text().splitlines() + path.read_text().splitlines()
    assert lines == [f"line {n:02}" for n in range(30 - len(lines), 30)]
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 300


def test_a_restarted_node_goes_on_in_its_log(tmp_path: Path) -> None:
    for line in ("one", "two"):
        file = LogFile(tmp_path / "n1.log")
        file.msg(line)
        file.close()
    assert (tmp_path / "n1.log").read_text() == "one\ntwo\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full of Linux")
def test_a_full_disk_costs_lines_and_says_later_how_many(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    path.symlink_to("/dev/full")
    file = LogFile(path)
    for _ in range(3):
        file.msg("lost")
    path.unlink()
    file._turn_over()
    file.msg("there is room again")
    file.close()

    told, line = path.read_text().splitlines()
    assert json.loads(told) == {"event": "log lines dropped", "lines": 3}
    assert line == "there is room again"
