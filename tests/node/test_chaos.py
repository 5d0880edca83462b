"""`keepline chaos`: what it asks for, what it makes of phones' logs, and what it says of that."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from loadtest import facts
from loadtest.facts import AnyFact, Window
from loadtest.verdict import FAULT_MS
from node.chaos.faults import FAULTS, named
from node.chaos.matrix import Made, markdown
from node.chaos.seen import Run, Strike, Tally, said, seen
from node.chaos.show import document
from tests.loadtest.logs import Story, audio
from tests.node.running import keepline

FAULT_AT = 5_000


def probes(first_ms: int, last_ms: int, *, silent: tuple[int, int]) -> list[AnyFact]:
    """Asked every 10 ms and answered after 2, but not what was asked in this span."""
    found: list[AnyFact] = []
    for n, ms in enumerate(range(first_ms, last_ms, 10)):
        found.append(facts.Probed(ms=ms, who="c0", call="in-0", n=n))
        if not silent[0] <= ms < silent[1]:
            found.append(facts.ProbeAnswered(ms=ms + 2, who="c0", call="in-0", n=n, status=200))
    return found


def talked(*, silent: tuple[int, int], is_cut_off: bool = False) -> list[AnyFact]:
    """A caller and an agent talk over the fault; probes say when nobody answered."""
    story = Story().join("1001")
    mine, _ = story.talk(0, "1001", at=1_000, offered=1_100, until=19_000)
    window = Window(mark="fault", at_ms=FAULT_AT, before_ms=21, after_ms=40, own_late_ms=0)
    end = 9_000 if is_cut_off else 19_000
    if is_cut_off:  # by nobody's phone
        story.log = [fact for fact in story.log if not (fact.who == "c0" and fact.ms >= end)]
        story.told("c0", mine, end)
    else:
        story.drop(facts.Audio, "c0")
    heard = (("music", 1_010, 1_400), ("a0", 1_420, end - 10))
    story.log.append(audio("c0", mine, end, *heard, windows=(window,)))
    story.log.append(facts.Mark(ms=FAULT_AT, who="", name="fault"))
    return story.log + probes(4_000, FAULT_AT + FAULT_MS + 1_000, silent=silent)


def strike(*moving: str) -> Strike:
    return Strike("fault", FAULT_AT, FAULT_AT + 1, "n1" if moving else "", moving)


def run_of(log: list[AnyFact], *moving: str, problems: Iterable[str] = ()) -> Run:
    return seen(
        1, [strike(*moving)], {"north": log}, switches=[], takes_audio=False, problems=problems
    )


def test_the_answer_counts_from_the_strike_and_silence_from_the_last_answer_before_it() -> None:
    run = run_of(talked(silent=(4_990, 5_300)), "north")
    assert run.is_ok
    assert run.answer_ms == [302]
    assert run.silence_ms == [320]
    assert run.states["talking"].survived == run.states["talking"].calls == 1


def test_a_shard_that_did_not_have_to_move_is_a_bystander() -> None:
    logs = {"north": talked(silent=(5_000, 5_200)), "south": talked(silent=(5_000, 5_000))}
    run = seen(1, [strike("north")], logs, switches=[], takes_audio=False, problems=())
    assert run.answer_ms == [202]
    assert run.bystanders_ms == [10]


def test_a_shard_that_never_answers_again_is_a_problem() -> None:
    run = run_of(talked(silent=(5_000, 11_000)), "north")
    assert not run.is_ok
    assert run.problems == [f"north gave no answer within {FAULT_MS} ms of the fault"]


def test_a_call_that_ends_though_nobody_hung_up_is_lost_after_it_was_committed() -> None:
    run = run_of(talked(silent=(5_000, 5_100), is_cut_off=True), "north")
    assert not run.is_ok
    assert run.lost == 1
    assert run.committed_lost
    tally = Tally("kill", "kill -9 of an active", [run])
    (row,) = document([tally], store="sqlite", logs="")["faults"]
    assert (row["ok"], row["lost"], row["committed_lost"]) == (False, 1, run.committed_lost)
    assert any("committed and lost" in problem for problem in row["problems"])


def test_two_leaders_of_one_epoch_are_found_in_the_nodes_logs() -> None:
    def line(**fields: Any) -> str:
        return json.dumps({"event": "elected", **fields})

    logs = {
        "n1": [line(shard="north", epoch=1), line(shard="north", epoch=3)],
        "n2": [line(shard="north", epoch=2), line(shard="south", epoch=3)],
    }
    assert said(logs).two_actives == []
    logs["n2"].append(line(shard="north", epoch=3))
    logs["n2"].append(json.dumps({"event": "ending a silent process"}))
    assert said(logs).two_actives == ["epoch 3 of north was led by n1 and n2"]
    assert said(logs).nodes_ended == 1
    tally = Tally("kill", "", [run_of(talked(silent=(5_000, 5_100)), "north")])
    assert tally.is_ok
    tally.two_actives = said(logs).two_actives
    assert not tally.is_ok


def test_faults_come_in_their_own_order_each_once() -> None:
    assert [fault.name for fault in named(["cut-one-way", "kill", "cut-in"])] == [
        "kill",
        "cut-out",
        "cut-in",
    ]
    assert [fault.name for fault in named(["all"])] == list(FAULTS)


def test_the_matrix_says_how_it_was_made_and_what_was_lost_in_bold() -> None:
    good = Tally("kill", "kill -9", [run_of(talked(silent=(5_000, 5_300)), "north")])
    lost = run_of(talked(silent=(5_000, 5_100), is_cut_off=True), "north")
    bad = Tally("hang", "it hangs", [lost])
    made = Made(command="keepline chaos", day="2026-01-02", machine="2 cores", left_out=["x"])
    lines = markdown([good, bad], made).splitlines()
    assert "Made by `keepline chaos` on 2026-01-02 (2 cores); not edited by hand." in lines[2]
    assert "| a caller who … | kill | hang |" in lines
    assert "| talks | 1 of 1, 40 ms | **0 of 1**, 30 ms |" in lines
    assert "| kill | kill -9 | 1 | 302 / 302 ms | 310 / 310 ms | 0 | 0 | 0 |" in lines
    assert "| hang | it hangs | 1 | 102 / 102 ms | 110 / 110 ms | 1 | 2 | 0 |" in lines
    assert lines[-2:] == ["- x", ""] or lines[-1] == "- x"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--fault", "flood"], "'flood' is not one of: kill, hang, "),
        (["--store", "redis"], "'redis' is not one of: sqlite, etcd, zookeeper"),
        (["--matrix", "/absent/survival.md"], "/absent is no folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], line: str) -> None:
    done = keepline("chaos", *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.real
def test_links_are_cut_on_an_etcd_and_nothing_is_lost(tmp_path: Path) -> None:
    matrix = tmp_path / "survival.md"
    words = ["--fault=cut", "--runs=1", "--store=etcd", f"--matrix={matrix}", "--json"]
    done = keepline("chaos", *words, timeout_s=180)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    (row,) = found["faults"]
    assert (found["store"], row["fault"], row["runs"], row["lost"]) == ("etcd", "cut", 1, 0)
    assert row["calls"] >= 60
    assert row["committed_lost"] == row["two_actives"] == row["problems"] == []
    assert row["answer_ms"]["max"] > 100  # an active that is cut off is missed, not seen to end
    assert "| cut | all links of an active are silent" in matrix.read_text()
