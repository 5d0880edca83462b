"""A centre that was read, written as a file again: the same centre."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from msgspec.structs import replace

from calls.centre import Centre
from node.centre_file import as_file, as_yaml
from node.config import load_centre, read_centre
from node.yaml_tree import read_tree
from tests.node.centres import centres

ROOT = Path(__file__).parents[2]


def again(text: str) -> Centre:
    return read_centre(read_tree(text.encode(), Path("again.yaml")))


@settings(max_examples=200, deadline=None)
@given(centres())
def test_what_is_written_declares_the_same_centre(centre: Centre) -> None:
    assert again(as_yaml(centre)) == centre
    whole = yaml.safe_dump(as_file(centre, whole=True), sort_keys=False)
    kept = {name: shard for name, shard in centre.shards.items() if shard.elsewhere}
    if len(kept) == len(centre.shards):  # "as the centre says" is said by saying nothing
        assert again(whole) == centre


def test_what_need_not_be_said_is_not() -> None:
    centre = load_centre(ROOT / "examples/hello.yaml")
    assert as_yaml(centre) == (
        "numbers:\n  '4001':\n    queue: support\n"
        "queues:\n  support: {}\n"
        "agents:\n  '1001':\n    name: Desk 1\n    phone: sip:1001@127.0.0.1:7001\n"
        "    queues:\n    - support\n"
    )


UNSAID = {("Number", "ring_ms"), ("Centre", "closing")}
"""What no file says."""


def other(value: Any) -> Any:
    match value:
        case int():
            return value + 1
        case str():
            return value + "x"
        case tuple() if value and isinstance(value[-1], int):
            return (value[0], value[1] + 1)
        case tuple():
            return (*value, "x")
        case _:
            return None


def test_every_field_is_said() -> None:
    """One that is forgotten here could be changed and be no difference."""
    centre = load_centre(ROOT / "examples/two-shards.yaml")
    for section in ("shards", "numbers", "queues", "agents"):
        entries = getattr(centre, section)
        name, entry = next(iter(entries.items()))
        for field in entry.__struct_fields__:
            if (type(entry).__name__, field) not in UNSAID:
                changed = replace(entry, **{field: other(getattr(entry, field))})
                fresh = replace(centre, **{section: {**entries, name: changed}})
                assert as_file(fresh, whole=True) != as_file(centre, whole=True), (section, field)
    for field in centre.__struct_fields__:
        value = other(getattr(centre, field))
        if ("Centre", field) not in UNSAID and value is not None:
            assert as_file(replace(centre, **{field: value}), whole=True) != as_file(
                centre, whole=True
            ), field
