"""The board of gateways: what it takes from whom, and that its picture fits and reads."""

import re
from typing import Any

import pytest
from rich.text import Text

from node.ask_gateways import Heard
from node.gateway_board import Board, Frame, frame, once
from node.gateway_screen import keys
from node.show_gateways import LEGEND, SLOTS, grid
from tests.node.gateway_desk import SHARD, GatewayDesk, wall_ms

ESCAPE = "\x1b]0;owned\x07"


def heard(desk: GatewayDesk, node: str = "n1") -> list[Heard]:
    """What a watcher hears of it."""
    rows: list[dict[str, Any]] = [{"kind": "gateway", **row} for row in desk.rows()]
    return [Heard(node, one) for one in [*rows, {"kind": "alarms", **desk.document(0)}]]


def board_of(*desks: GatewayDesk) -> Board:
    board = Board()
    for n, desk in enumerate(desks, 1):
        for one in heard(desk, f"n{n}"):
            board.take(one)
    return board


def plain(picture: Frame | list[Text]) -> list[str]:
    lines = picture.lines if isinstance(picture, Frame) else picture
    return [line.plain.rstrip() for line in lines]


@pytest.fixture
def desk() -> GatewayDesk:
    found = GatewayDesk()
    found.polled("tg1", slots_in_use=0b1110)
    found.see("los", "on", "tg1/3")
    found.known["tg2"].at_ms = wall_ms()
    found.known["tg2"].trouble = "no answer to SNMP"
    found.see("unreachable", "on", "tg2")
    return found


def test_a_line_for_each_gateway_then_its_lines_slot_by_slot_then_alarms(desk: GatewayDesk) -> None:
    lines = plain(frame(board_of(desk), width=80, height=24, now_ms=wall_ms()))

    assert lines[0] == "2 gateways  1 up  1 down   alarms: 2 critical" + " " * 29 + "q ends"
    assert lines[1].split() == [
        "tg2",
        "delhi",
        "down",
        "1",
        "critical",
        "no",
        "answer",
        "to",
        "SNMP",
    ]
    assert lines[2] == "    1              F??????? ???????? ???????? ????????"
    assert lines[3].startswith("tg1          delhi      up            1 critical  answered ")
    assert lines[4] == "    1 carrier-a    F###.... ........ D....... ........  3/30"
    assert lines[6] == "    3              Fxxxxxxx xxxxxxxx !xxxxxxx xxxxxxxx  3/30 los"
    assert [line.split()[:2] for line in lines[-3:-1]] == [
        ["critical", "los@tg1/3"],
        ["critical", "unreachable@tg2"],
    ]
    assert lines[-1].startswith("F frame  D D-ch  ! D-ch down  . idle  # in use  x out")


def test_a_gateway_that_is_removed_leaves_the_board_unless_another_site_has_it(
    desk: GatewayDesk,
) -> None:
    board = board_of(desk)

    def devices(*names: str, epoch: int, shard: str = SHARD) -> Heard:
        said = {"kind": "devices", "shard": shard, "epoch": epoch, "gateways": list(names)}
        return Heard("n1", said)

    assert not board.take(devices("tg1", "tg2", epoch=3))
    assert not board.take(devices("tg1", epoch=2)), "by who led before"
    assert not board.take(devices(epoch=9, shard="gateways@mumbai"))
    assert board.take(devices("tg1", epoch=3))
    assert [row["gateway"] for row in board.gateways] == ["tg1"]
    assert board.take(devices(epoch=4))
    assert board.gateways == []


@pytest.mark.parametrize("width", [1, 20, 40, 80, 132])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 10, 24, 60])
def test_the_picture_is_as_large_as_the_terminal(
    desk: GatewayDesk, width: int, height: int
) -> None:
    board = board_of(desk)
    board.take(Heard("n2", None, "no answer"))
    picture = frame(board, width=width, height=height, now_ms=wall_ms())

    assert len(picture.lines) == height
    assert max(line.cell_len for line in picture.lines) <= width


def test_what_has_no_room_is_scrolled_to(desk: GatewayDesk) -> None:
    board = board_of(desk)
    whole = plain(frame(board, width=100, height=60, now_ms=wall_ms()))[1:7]
    first = frame(board, width=100, height=8, now_ms=wall_ms())
    last = frame(board, width=100, height=8, scroll=99, now_ms=wall_ms())

    assert first.scroll_most > 0
    assert plain(first)[-1].startswith(f"{first.scroll_most} below (j)")
    assert plain(last)[-1].startswith(f"{first.scroll_most} lines above (k)")
    room = 6 - first.scroll_most
    assert plain(first)[1 : 1 + room] == whole[:room]
    assert plain(last)[1 : 1 + room] == whole[-room:]


def test_each_state_of_a_slot_has_a_character_of_its_own_in_the_legend() -> None:
    characters = [character for character, _ in SLOTS.values()]

    assert len(set(characters)) == len(characters)
    assert list(LEGEND) == characters
    assert all(len(one) == 1 and one.isascii() for one in characters)
    assert grid(["frame", "made up", *["idle"] * 30]).plain == "F?...... ........ ........ ........"


def test_of_two_nodes_the_one_with_the_higher_epoch_counts(desk: GatewayDesk) -> None:
    deposed = GatewayDesk(epoch=2)
    for order in ((desk, deposed), (deposed, desk)):
        board = board_of(*order)
        assert board.shards[SHARD]["epoch"] == 3
        assert {row["epoch"] for row in board.rows.values()} == {3}
        assert [one["path"] for one in board.alarms] == ["tg1/3", "tg2"]


def test_an_alarm_that_is_over_goes_from_the_board(desk: GatewayDesk) -> None:
    board = board_of(desk)
    desk.see("unreachable", "off", "tg2")
    desk.world.run_until(desk.world.now_ms + 20_000)
    changed = [board.take(one) for one in heard(desk)]

    assert changed[-1]
    assert [one["name"] for one in board.alarms] == ["los@tg1/3"]
    assert not any(board.take(one) for one in heard(desk))


def test_a_node_that_dies_is_named_and_who_is_heard_still_until_it_is_back(
    desk: GatewayDesk,
) -> None:
    board = board_of(desk)
    assert board.take(Heard("n2", None, "no answer"))
    assert not board.take(Heard("n2", None, "no answer"))
    assert plain(frame(board, width=80, height=9, now_ms=0))[1] == "n2: no answer; watching n1"
    board.take(Heard("n1", None, "no answer"))
    seen = plain(frame(board, width=80, height=24, now_ms=0))
    assert seen[1] == "n1: no answer; n2: no answer; what is shown is old"
    assert any("tg1" in line for line in seen[2:])
    assert board.take(Heard("n2", {"kind": "beat"}))
    assert not board.take(Heard("n2", {"kind": "beat"}))
    assert board.take(Heard("n1", None))
    assert "n1" not in board.nodes


def test_nothing_that_a_device_says_reaches_the_terminal_as_a_command(desk: GatewayDesk) -> None:
    desk.known["tg1"].trouble = f"says {ESCAPE}\nand more"
    board = board_of(desk)
    board.take(Heard("n2", None, ESCAPE))
    lines = plain(frame(board, width=200, height=24, now_ms=wall_ms()))

    assert any("says ·]0;owned··and more" in line for line in lines)
    assert not re.search(r"[\x00-\x1f\x7f]", "".join(lines))


def test_one_picture_has_everything_however_long(desk: GatewayDesk) -> None:
    lines = plain(once(board_of(desk), width=80, now_ms=wall_ms()))

    assert len(lines) == 1 + 6 + 3 + 1
    assert "q ends" not in lines[0]


def test_before_anything_is_known_it_says_so() -> None:
    board = Board()
    board.take(Heard("n1", {"kind": "beat"}))

    assert plain(frame(board, width=80, height=5, now_ms=0))[:2] == [
        "0 gateways   alarms: none" + " " * 49 + "q ends",
        "no gateways yet",
    ]


def test_keys_are_understood_also_when_they_come_together() -> None:
    assert keys(b"jj\x1b[A\x1b[6~?q") == ["down", "down", "up", "page down", "end"]
    assert keys(b"\xff\x1b") == []
