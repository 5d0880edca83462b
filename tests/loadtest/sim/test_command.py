"""`keepline sim`: what is printed, and the exit status."""

import json

import pytest

from loadtest.sim.play import CORE, WHOLE, Outcome, failure, summary
from node import simulation
from node.cli import run
from tests.loadtest.sim.planted import CORE as BUGS
from tests.loadtest.sim.planted import planted

BUG = BUGS["effects before commit"]


def test_seeds_that_break_no_rule_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--core", "--seeds", "3", "--first", "7"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("from 7: 3 seeds of the core in ")
    assert "no rule broken" in line


def test_a_seed_that_breaks_a_rule_is_one_line_with_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with planted(BUG):
        assert run(["sim", "--core", "--seed", "1"]) == 1
    *log, last = capsys.readouterr().out.splitlines()
    assert any("elected" in line for line in log)
    assert last.startswith("seed 1: ")
    assert last.endswith("; repeat it: keepline sim --core --seed 1")


def test_a_failed_seed_among_many_is_told_when_it_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(seed=9, level=WHOLE, violation="two lead", log=["10 n1 elected"])

    def run_seeds(level: str, **asked: object) -> object:
        asked["on_outcome"](outcome)  # type: ignore[operator]
        return summary(level, [outcome], 1.0)

    monkeypatch.setattr(simulation, "run_seeds", run_seeds)
    assert run(["sim", "--seeds", "1"]) == 1
    end_of_log, told, last = capsys.readouterr().out.splitlines()
    assert end_of_log == "10 n1 elected"
    assert told == "seed 9: two lead; repeat it: keepline sim --seed 9"
    assert "1 failed" in last


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--core", "--seeds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["level"], found["seeds"], found["failed"]) == (CORE, 2, [])
    assert found["takeovers"] > 0

    with planted(BUG):
        assert run(["sim", "--core", "--seed", "1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 1
    assert found["violation"]
    assert found["log"]


@pytest.mark.parametrize(
    "words",
    [
        ["--seed", "1", "--seeds", "2"],
        ["--seed", "1", "--seconds", "2"],
        ["--seeds", "0"],
        ["--seed", "x"],
    ],
)
def test_what_cannot_be_meant_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", *words]) == 2
    assert capsys.readouterr().err.startswith("keepline: ")


def test_a_summary_adds_up_and_lists_what_failed_by_seed() -> None:
    outcomes = [
        Outcome(seed=2, level=CORE, violation="b", takeovers=1, counts={"fault: cut": 2}),
        Outcome(seed=1, level=CORE, violation="a", takeovers=2, counts={"fault: cut": 1, "x": 9}),
        Outcome(seed=3, level=CORE, takeovers=3, virtual_ms=1_500),
    ]
    found = summary(CORE, iter(outcomes), 2.0)
    assert found.failed == [failure(outcomes[1]), failure(outcomes[0])]
    assert (found.seeds, found.takeovers, found.virtual_seconds) == (3, 6, 1.5)
    assert found.faults == {"cut": 3}
    assert failure(outcomes[0]).command == "keepline sim --core --seed 2"
