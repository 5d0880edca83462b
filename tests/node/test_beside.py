"""What a change comes to, worked out in a process of its own."""

import msgspec
import pytest
from msgspec.structs import replace

from calls.centre import Shard
from node import beside
from node.beside import Compare, Compared, Failed, Write, compare, compared, write, written
from tests.node.test_difference import NEW, OLD, centre


def asked(text: str = NEW) -> Compare:
    return Compare(stands=centre(OLD), closed=[], text=text, file="new.yaml")


def decoded(found: Compared) -> list[dict[str, object]]:
    changes: list[dict[str, object]] = msgspec.json.decode(found.changes)
    return changes


async def test_the_process_answers_what_the_function_does() -> None:
    for question in (asked(), asked("numbers: [\n"), replace(asked(""), back=centre(NEW))):
        there = await compared(question)
        here = compare(question)
        assert (there.error, there.centre, there.counts, there.places) == (
            here.error, here.centre, here.counts, here.places,
        )  # fmt: skip
        assert decoded(there) == decoded(here)
    assert await written(Write(centre(NEW))) == write(Write(centre(NEW)))


def test_what_changes_is_counted_and_what_is_new_has_its_place() -> None:
    found = compare(asked())
    assert found.error == ""
    assert found.centre == centre(NEW)
    assert found.counts == {"added": 4, "changed": 5, "removed": 1}
    assert sum(found.counts.values()) == len(decoded(found))
    assert found.places == {
        "shards.south.sip": "new.yaml:4: shards.south.sip",
        "agents.1004.queues": "new.yaml:13: agents.1004.queues",
    }


def test_a_wrong_file_and_one_that_cannot_follow_are_errors_with_their_place() -> None:
    assert compare(asked("queues: {q: {music: x}}\n")).error == (
        "new.yaml:1: queues.q.music: "
        "'x' is no name of a WAV file, like welcome.wav, without a folder"
    )
    moved = NEW.replace("127.0.0.1:5060", "127.0.0.1:5999")
    line = (
        "must stay 127.0.0.1:5060 while the cluster runs: "
        "that is what phones in its calls answer to"
    )
    assert compare(asked(moved)).error == f"new.yaml:3: shards.north.sip: {line}"
    assert compare(replace(asked(moved), is_stopped=True)).error == ""
    # What a version was has no file.
    back = replace(centre(NEW), shards={**centre(NEW).shards, "north": Shard(("127.0.0.1", 5999))})
    assert compare(replace(asked(""), back=back)).error == f"shards.north.sip: {line}"


async def test_a_process_that_takes_too_long_or_fails_has_changed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beside, "DEADLINE_MS", 1)
    with pytest.raises(Failed, match=r"it took longer than 0\.001 s"):
        await compared(asked())
    monkeypatch.undo()
    with pytest.raises(Failed, match="it ended with status 1"):
        await compared(asked(""))  # neither a file nor a version
