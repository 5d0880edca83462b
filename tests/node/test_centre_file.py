"""A centre that was read, written as a file again: the same centre."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from msgspec.structs import replace

from calls.centre import Centre
from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.inventory import Device
from node.centre_file import as_file, as_yaml
from node.config import load_centre, read_centre
from node.inventory_file import inventory_as_file
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


UNSAID = {("Number", "ring_ms"), ("Centre", "closing"), ("Centre", "closing_sites")}
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


def test_every_field_of_a_gateway_is_said() -> None:
    file = ROOT / "examples/gateways.yaml"
    inventory = load_centre(file).inventory
    before = inventory_as_file(inventory, whole=True)
    tg1 = inventory.devices["tg1"]
    changed = [
        replace(inventory, devices={**inventory.devices, "tg1": device})
        for device in (
            *(replace(tg1, **{field: another(getattr(tg1, field))}) for field in said(tg1)),
            *(
                replace(tg1, access=replace(tg1.access, **{field: "x"}))
                for field in tg1.access.__struct_fields__
            ),
            *(
                replace(tg1, spans={1: replace(tg1.spans[1], **{field: another(value)})})
                for field in tg1.spans[1].__struct_fields__
                for value in (getattr(tg1.spans[1], field),)
            ),
        )
    ]
    site = inventory.sites["delhi"]
    for fresh in (
        replace(site, traps=("0.0.0.0", 162)),
        replace(site, kinds={"los": Kind("minor")}),
    ):
        changed.append(replace(inventory, sites={"delhi": fresh}))
    for section in ("sites", "carriers", "trunks"):
        entries = getattr(inventory, section)
        name, entry = next(iter(entries.items()))
        for field in entry.__struct_fields__:
            if field in ("traps", "kinds"):
                continue
            fresh = replace(entry, **{field: another(getattr(entry, field))})
            changed.append(replace(inventory, **{section: {**entries, name: fresh}}))
    assert len(changed) == 7 + 5 + 5 + 2 + 2 + 2 + 3
    for one in changed:
        assert inventory_as_file(one, whole=True) != before, one


def said(device: Device) -> list[str]:
    return [name for name in device.__struct_fields__ if name not in ("access", "spans")]


def another(value: Any) -> Any:
    match value:
        case tuple() if not value or isinstance(value[0], int):
            return (*value, 30)
        case _:
            return other(value)
