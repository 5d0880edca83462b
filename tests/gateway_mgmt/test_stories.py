"""Each story as it is, and with a node that dies at every point of it."""

import pytest

from gateway_mgmt.alarms.records import Alarm, Entry, Notice
from tests.gateway_mgmt.stories import STORIES
from tests.gateway_mgmt.world import World, deaths, judge, play


def lasting(world: World) -> dict[str, bytes]:
    """What the records have in the end but names and orders, in which epochs stand."""
    return {
        key: data
        for key, data in world.committed.items()
        if not key.startswith(("history/", "route/"))
    }


def log(world: World) -> list[tuple[int, str, str, str, str, str]]:
    entries = [one for one in world.records.values() if isinstance(one, Entry)]
    return sorted((one.n, one.what, one.path, one.condition, one.by, one.note) for one in entries)


@pytest.mark.parametrize("story", STORIES)
def test_the_story_is_told(story: str) -> None:
    world = play(STORIES[story])

    assert world.repeats == 0
    assert not [one for one in world.records.values() if isinstance(one, Alarm | Notice)]


@pytest.mark.parametrize("story", STORIES)
def test_a_death_at_any_point_tells_nothing_twice_and_loses_nothing(story: str) -> None:
    quiet = play(STORIES[story])
    repeats = 0
    for death in deaths(quiet):
        world = play(STORIES[story], death=death)
        assert world.epoch == 2, death
        assert (world.messages, world.routes) == (quiet.messages, quiet.routes), death
        assert lasting(world) == lasting(quiet), death
        assert log(world) == log(quiet), death
        repeats += world.repeats
    assert repeats > 0 or not quiet.messages, "no death left a message to be repeated"


def test_the_judge_finds_what_is_missing_and_what_is_too_much() -> None:
    with pytest.raises(AssertionError):
        judge([(0, 5, "raised los tg1")], [])
    with pytest.raises(AssertionError):
        judge([], [(3, "raised los tg1")])
    with pytest.raises(AssertionError):
        judge([(0, 5, "raised los tg1")], [(1, "raised los tg1"), (2, "raised los tg1")])
    with pytest.raises(AssertionError):
        judge([(0, 5, "raised los tg1")], [(6, "raised los tg1")])
