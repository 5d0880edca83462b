"""Profiles: those that are shipped, and what is said of a mistake in one."""

from pathlib import Path

import msgspec
import pytest

from gateway_mgmt.inventory import Span
from gateway_mgmt.io.profiles import load_folder, load_profile, shipped
from gateway_mgmt.profile import Column, Profile, ProfileError, read_profile
from gateway_mgmt.reading import own_oid


def test_the_shipped_profiles_are_sound() -> None:
    assert set(shipped()) == {
        *("audiocodes", "cisco", "dinstar", "generic", "net-snmp", "newrock", "patton"),
    }
    assert not shipped()["net-snmp"].ds1
    assert shipped()["audiocodes"].spans["d_channel"].conditions == {1: "d_channel_down"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"max_varbinds: 3\n", "x.yaml:1: Object missing required field `title`"),
        (b"title: x\nmax_varbind: 3\n", "x.yaml:2: max_varbind: no field has this name"),
        (
            b"title: x\nmax_varbinds: many\n",
            "x.yaml:2: max_varbinds: Expected `int`, got `str`",
        ),
        (b"title: x\n\nmax_varbinds: 0\n", "x.yaml:3: max_varbinds: Expected `int` >= 1"),
        (
            b"title: x\nscalars:\n  ok: 1.3.6.1.4\n  cpu: 1.3.x\n",
            "x.yaml:4: scalars.cpu: '1.3.x' is no numeric OID like 1.3.6.1.2.1.1.3.0",
        ),
        (
            b"title: x\nscalars:\n  ok: 1.3.6.1.4\n  CPU: 1.3.6.1.4\n",
            "x.yaml:4: scalars.CPU: 'CPU' is no name: small letters, digits and _, a letter first",
        ),
        (
            b"title: x\nobject_ids:\n- 1.3.6.1.4\n- acme\n",
            "x.yaml:4: object_ids[1]: 'acme' is no numeric OID",
        ),
        (
            b"title: x\nspans:\n  a: {oid: 1.3.6.1.4}\n  d:\n    oid: 1.3.6.1.4\n    firs: 1\n",
            "x.yaml:6: spans.d.firs: no field has this name",
        ),
        (
            b"title: x\nspans:\n  d: {oid: 1.3.6.1.4, first: 7}\n",
            "x.yaml:3: spans.d.first: Expected `int` <= 1",
        ),
        (
            b"title: x\nspans:\n  d: {oid: 1.3.6.1.4, conditions: {1: los,\n    up: ais}}\n",
            "x.yaml:4: spans.d.conditions.up: 'up' is no number",
        ),
        (
            b"title: x\nspans: {d: {oid: 1.3.6.1.4.1.5003.1,\n conditions: {1: down}}}\n",
            "x.yaml:3: spans.d.conditions.1: 'down' is no condition; known: ais, d_channel_down, ",
        ),
        (b"title: x\ntitle: y\n", "x.yaml:2: title stands here twice"),
        (
            b"title: x\nalarms:\n  losss: {soak: 0s}\n",
            "x.yaml:3: alarms.losss: no such condition; known: ais, d_channel_down, ",
        ),
        (
            b"title: x\nalarms:\n  los: {severity: cleared}\n",
            "x.yaml:3: alarms.los.severity: 'cleared' is no severity; known: critical, major, ",
        ),
        (
            b"title: x\nalarms:\n  los:\n    hold: 2h\n",
            "x.yaml:4: alarms.los.hold: '2h' is no time up to 1h, like 500ms, 2.5s or 1m",
        ),
        (
            b"title: x\nalarms:\n  los: {sock: 0s}\n",
            "x.yaml:3: alarms.los.sock: no field has this name",
        ),
        (b"title: [\n", "x.yaml:2: expected the node content, but found '<stream end>'"),
        (b"", "x.yaml:1: Expected `object`, got `null`"),
        (b"\xff\xfe\x00", "x.yaml: "),
        (b"- 1\n", "x.yaml:1: Expected `object`, got `array`"),
    ],
)
def test_a_typing_error_names_file_and_field(text: bytes, wrong: str) -> None:
    with pytest.raises(ProfileError) as error:
        read_profile(text, "x.yaml")
    assert str(error.value).startswith(wrong)
    assert "\n" not in str(error.value)


def test_a_column_names_a_row_for_each_span_and_what_follows_it() -> None:
    columns = {
        "own": Column("1.3.6.1"),
        "first": Column("1.3.6.2", first=0),
        "then": Column("1.3.6.3", first=1, then="0.7"),
    }
    profile, span = Profile("x", spans=columns), Span(index=40)
    asked = [own_oid(profile, name, 2, span) for name in columns]
    assert asked == ["1.3.6.1.40", "1.3.6.2.1", "1.3.6.3.2.0.7"]
    with pytest.raises(ProfileError, match=r"x.yaml:3: spans.d.then: "):
        read_profile(b"title: x\nspans: {d: {oid: 1.3.6.1.4.1,\n  then: .0}}\n", "x.yaml")


def test_a_profile_of_a_newer_version_is_read_by_an_older_one() -> None:
    """In the centre's record, while versions are mixed; in a file it is a typing error."""
    known = {"title": "x", "spans": {"d": {"oid": "1.3.6.1.4"}}, "alarms": {"los": {}}}
    newer = {**known, "newer": 1}
    newer["spans"] = {"d": {"oid": "1.3.6.1.4", "newer": 1}}
    newer["alarms"] = {"los": {"newer": 1}}
    assert msgspec.json.decode(msgspec.json.encode(newer), type=Profile) == msgspec.convert(
        known, Profile
    )


def test_a_site_may_have_profiles_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text("title: Acme\nds1: false\n")
    assert load_folder(tmp_path) == {"acme": Profile("Acme", ds1=False)}
    with pytest.raises(ProfileError, match=r"none.yaml: cannot be read: No such file"):
        load_profile(tmp_path / "none.yaml")
