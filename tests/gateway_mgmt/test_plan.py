"""What is declared, as the shards of alarms decide by it."""

from pathlib import Path

from msgspec.structs import replace

from calls.acceptable import successor
from calls.centre import Centre
from gateway_mgmt.access import Community
from gateway_mgmt.alarms.kinds import DEFAULTS, Kind
from gateway_mgmt.inventory import NONE, Device, Inventory, Site, Span, Trunk
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.plan import plan, profiles_of, shard_of, site_of, sites_with_devices
from gateway_mgmt.profile import Profile, Tuning
from gateway_mgmt.receivers import Webhook
from node.config import load_centre

ROOT = Path(__file__).parents[2]


def device(site: str, *spans: Span) -> Device:
    return Device(
        site, "generic", ("10.0.0.1", 161), Community("env:C"), spans=dict(enumerate(spans, 1))
    )


INVENTORY = Inventory(
    sites={"delhi": Site(kinds={"rai": Kind("warning")}), "pune": Site(), "goa": Site()},
    devices={
        "tg1": device("delhi", Span(1, trunk="bsnl"), Span(2, trunk="tata", slots=(1, 2, 3))),
        "tg2": device("delhi", Span(1, trunk="bsnl")),
        "tg3": device("pune", Span(1)),
    },
    trunks={"bsnl": Trunk("b", ("4001",), ("support",)), "tata": Trunk(), "jio": Trunk()},
    receivers={"hook": Webhook("https://noc.example", "env:K")},
)


def test_a_site_decides_of_its_devices_and_their_trunks() -> None:
    delhi = plan(INVENTORY, "delhi", ["main", "south"])
    assert list(delhi.gateways) == ["tg1", "tg2"]
    assert delhi.trunks["bsnl"].spans == {"tg1/1": 30, "tg2/1": 30}
    assert delhi.trunks["bsnl"].numbers == ("4001",)
    assert delhi.trunks["tata"].spans == {"tg1/2": 3}
    assert "jio" not in delhi.trunks
    assert delhi.kinds == {"rai": Kind("warning")}
    assert (delhi.receivers, delhi.shards) == (("hook",), ("main", "south"))
    assert plan(INVENTORY, "pune", ["main"]).trunks == {}


def test_of_each_object_it_is_known_what_is_looked_for() -> None:
    noisy = replace(
        device("delhi", Span(1, errored_seconds_max=60), Span(2)),
        profile="audiocodes",
        sip=("10.0.0.1", 5_060),
    )
    found = plan(replace(INVENTORY, devices={"tg1": noisy}), "delhi", ["main"], shipped())

    def at(path: str) -> tuple[str, ...]:
        return found.conditions[found.looked_for[path]]

    assert at("tg1") == ("unreachable", "reboot", "sip_down")
    assert {"los", "d_channel_down", "errored_seconds"} <= {*at("tg1/1")}
    assert {*at("tg1/1")} - {*at("tg1/2")} == {"errored_seconds"}
    plain = plan(INVENTORY, "delhi", ["main"], shipped())
    assert "d_channel_down" not in plain.conditions[plain.looked_for["tg1/1"]]
    assert plan(INVENTORY, "delhi", ["main"]).looked_for == {}, "a profile that nobody knows"


def test_a_profile_says_how_alarms_of_its_devices_behave() -> None:
    """On top of what the site says, and of what is usual."""
    slow = Profile("Slow", alarms={"rai": Tuning(soak="0s"), "los": Tuning("major", hold="1m")})
    inventory = replace(INVENTORY, profiles={"generic": slow})
    kinds = {
        "rai": Kind("warning", soak_ms=0),
        "los": replace(DEFAULTS["los"], severity="major", hold_ms=60_000),
    }
    assert plan(inventory, "delhi", ["main"]).gateways == {"tg1": kinds, "tg2": kinds}
    assert plan(inventory, "pune", ["main"]).gateways["tg3"]["rai"] == replace(
        DEFAULTS["rai"], soak_ms=0
    )
    assert plan(INVENTORY, "delhi", ["main"], {"generic": slow}).gateways["tg1"] == kinds
    assert plan(INVENTORY, "delhi", ["main"], shipped()).gateways == {"tg1": {}, "tg2": {}}


def test_a_declared_profile_goes_before_a_shipped_one() -> None:
    mine = {"generic": Profile("Mine"), "own": Profile("Own")}
    found = profiles_of(replace(INVENTORY, profiles=mine), shipped())
    assert found == {**shipped(), **mine}


def test_what_is_no_site_any_more_watches_nothing_and_still_tells() -> None:
    gone = plan(INVENTORY, "agra", ["main"])
    assert (gone.gateways, gone.trunks, gone.receivers) == ({}, {}, ("hook",))


def test_a_site_with_devices_has_a_shard() -> None:
    assert sites_with_devices(INVENTORY) == ("delhi", "pune")
    assert site_of(shard_of("delhi")) == "delhi"
    assert site_of("main") == ""


def test_a_site_without_devices_is_closing_until_its_shard_is_closed() -> None:
    empty = Centre({}, {}, {}, {})
    old = Centre({}, {}, {}, {}, inventory=INVENTORY)
    one = successor(old, empty, closed=())
    assert one.closing_sites == ("delhi", "pune")
    two = successor(one, empty, closed=("gateways@delhi",))
    assert two.closing_sites == ("pune",)
    again = successor(two, old, closed=())
    assert again.closing_sites == ()


def test_the_example_is_one_site() -> None:
    inventory = load_centre(ROOT / "examples/gateways.yaml").inventory
    assert sites_with_devices(inventory) == ("delhi",)
    assert inventory != NONE
