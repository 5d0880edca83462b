"""Profiles: those that are shipped, and what is said of a mistake in one."""

from pathlib import Path

import pytest

from gateway_mgmt.io.profiles import load_folder, load_profile, shipped
from gateway_mgmt.profile import Profile, ProfileError, read_profile


def test_the_shipped_profiles_are_sound() -> None:
    assert set(shipped()) == {
        *("audiocodes", "cisco", "dinstar", "generic", "net-snmp", "newrock", "patton"),
    }
    assert not shipped()["net-snmp"].ds1
    assert shipped()["audiocodes"].spans["d_channel"].conditions == {1: "d_channel_down"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"max_varbinds: 3\n", "x.yaml: Object missing required field `title`"),
        (b"title: x\nmax_varbind: 3\n", "x.yaml: Object contains unknown field `max_varbind`"),
        (
            b"title: x\nmax_varbinds: many\n",
            "x.yaml: max_varbinds: Expected `int`, got `str`",
        ),
        (b"title: x\nmax_varbinds: 0\n", "x.yaml: max_varbinds: Expected `int` >= 1"),
        (
            b"title: x\nscalars: {cpu: 1.3.x}\n",
            "x.yaml: scalars[...]: Expected `str` matching regex "
            "'^1(\\\\.(0|[1-9][0-9]{0,9})){3,60}$'",
        ),
        (
            b"title: x\nspans: {d: {oid: 1.3.6.1.4.1.5003.1, conditions: {1: down}}}\n",
            "x.yaml: spans.d.conditions.1: 'down' is no condition; known: ais, d_channel_down, ",
        ),
        (b"title: x\ntitle: y\n", "x.yaml:2: title stands here twice"),
        (b"title: [\n", "x.yaml:2: expected the node content, but found '<stream end>'"),
        (b"", "x.yaml: Expected `object`, got `null`"),
        (b"\xff\xfe\x00", "x.yaml: "),
    ],
)
def test_a_typing_error_names_file_and_field(text: bytes, wrong: str) -> None:
    with pytest.raises(ProfileError) as error:
        read_profile(text, "x.yaml")
    assert str(error.value).startswith(wrong)
    assert "\n" not in str(error.value)


def test_a_site_may_have_profiles_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text("title: Acme\nds1: false\n")
    assert load_folder(tmp_path) == {"acme": Profile("Acme", ds1=False)}
    with pytest.raises(ProfileError, match=r"none.yaml: cannot be read: No such file"):
        load_profile(tmp_path / "none.yaml")
