"""The demo: what it sets up, and that it tells a loss from none."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.lost import Loss
from loadtest.scenario import Mix
from loadtest.verdict import Verdict, judge
from node.config import load_centre
from node.demo import mixes
from node.directory import Directory
from node.outcome import Options, Outcome, as_document
from node.scene import centre_yaml, free_network, parts, phone_words
from tests.node.running import KEEPLINE, keepline


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_the_demo_shares_people_among_two_shards_that_begin_on_different_nodes(
    tmp_path: Path, nodes: int
) -> None:
    north, south = parts(mixes(Options(calls=61, agents=21)), "127.9.9", nodes=nodes)

    assert (north.mix.callers + south.mix.callers, north.mix.agents + south.mix.agents) == (61, 21)
    assert (north.preferred[0] == south.preferred[0]) == (nodes == 1)
    assert south.first_voice >= north.mix.callers

    file = tmp_path / "centre.yaml"
    file.write_text(centre_yaml([north, south]))
    centre = load_centre(file)
    assert len(centre.agents) == 21
    assert centre.shards["south"].sip == ("127.9.9.2", 5060)
    assert centre.shards["south"].preferred == tuple(south.preferred)


def test_a_scenario_uses_every_agent_and_every_caller() -> None:
    for part in parts(mixes(Options(calls=60, agents=20)), "127.9.9", nodes=3):
        assert f"--scenario={Mix(waiting=20, talking=8, ringing=2)}" in phone_words(part, 7, 10)


def test_a_network_is_one_whose_sip_ports_are_free() -> None:
    assert free_network(1).startswith("127.")


def verdict(*lost: Loss) -> Verdict:
    return msgspec.structs.replace(judge([]), lost=list(lost), ok=not lost)


@pytest.mark.parametrize(
    ("lost", "count"),
    [
        ([], 0),
        (
            [
                Loss("silent", "c1", "x"),
                Loss("bye_refused", "c1", "x"),
                Loss("silent", "1001", "y"),
            ],
            1,
        ),
        ([Loss("unfinished", "c1", "x"), Loss("unfinished", "c2", "z")], 2),
        ([Loss("silent", "1001", "y"), Loss("silent", "1002", "w")], 2),
    ],
)
def test_a_call_that_is_lost_in_several_ways_is_one_lost_call(lost: list[Loss], count: int) -> None:
    assert Outcome(verdict(*lost), [], "n1", 0, 1.0).lost == count


def test_a_problem_beyond_the_verdict_is_no_success() -> None:
    assert Outcome(verdict(), [], "", 0, 1.0).is_ok
    assert not Outcome(verdict(), ["agent 1001 is elsewhere"], "", 0, 1.0).is_ok
    assert as_document(Options(), Outcome(verdict(), ["x"], "", 0, 1.0))["ok"] is False


@pytest.fixture
def demo() -> Callable[..., tuple[int, Any]]:
    """Run a small demo; its exit status and document. Nothing of it may be left."""

    def run(*words: str) -> tuple[int, Any]:
        done = keepline("demo", "--json", "--calls", "12", "--agents", "4", *words, timeout_s=150)
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        if document["logs"]:
            assert Directory(Path(document["logs"]) / "data").holders() == []
        return done.returncode, document

    return run


def test_a_demo_with_a_killed_node_loses_nothing(demo: Callable[..., tuple[int, Any]]) -> None:
    status, document = demo("--fault", "kill")

    assert document["problems"] == []
    assert document["verdict"]["lost"] == []
    assert (status, document["ok"], document["lost"]) == (0, True, 0)
    assert (document["offered"], document["answered"]) == (12, 12)
    assert document["order_kept"] is True
    assert document["fault"]["node"] == "n1"
    assert document["fault"]["takeover_ms"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_told_to_end_leaves_nothing(number: signal.Signals) -> None:
    with tempfile.TemporaryDirectory(prefix="kl") as folder:  # short: a socket lies in it
        running = subprocess.Popen(
            [*KEEPLINE, "demo", "--calls", "4", "--agents", "2"],
            env=os.environ | {"TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        with running:
            assert running.stdout
            assert any("callers come" in line for line in running.stdout)
            (data,) = Path(folder).glob("*/data")
            processes = [pid for pid, _ in Directory(data).holders()]
            assert len(processes) == 5
            running.send_signal(number)
            assert running.wait(60) == 130

        assert list(Path(folder).iterdir()) == []
        assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_a_node_that_is_killed_alone_comes_back_with_every_call(
    demo: Callable[..., tuple[int, Any]],
) -> None:
    status, document = demo("--fault", "kill", "--nodes", "1")

    assert (status, document["ok"], document["lost"]) == (0, True, 0)
    assert (document["offered"], document["answered"]) == (12, 12)


def test_a_demo_with_one_node_and_no_journal_shows_the_loss(
    demo: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPLINE_JOURNAL", "off")
    status, document = demo("--fault", "kill", "--nodes", "1")

    assert (status, document["ok"]) == (1, False)
    assert document["lost"] >= 8
    assert document["offered"] == 12
