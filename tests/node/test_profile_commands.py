"""`keepline gateway profile`: shown, turned into numbers, tried on a virtual gateway."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_mgmt.io.profiles import load_profile, shipped
from node.cli import run
from tests.gateway_mgmt.test_mib import MINE, PROFILE
from tests.gateway_mgmt.virtual import SECRETS, plant, simulated


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one and answers its status, its output and what went wrong."""

    def done(*words: str | Path) -> tuple[int, str, str]:
        status = run(["gateway", "profile", *map(str, words)])
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1
        return status, said.out, said.err

    return done


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mibs").mkdir()
    (tmp_path / "mibs" / "MYBOX-MIB.txt").write_text(MINE)
    file = tmp_path / "mybox.yaml"
    file.write_bytes(PROFILE)
    return file


def test_the_shipped_profiles_are_listed_and_shown_as_files(command: Any, tmp_path: Path) -> None:
    status, output, _ = command("list", "--json")
    assert status == 0
    assert [row["profile"] for row in json.loads(output)] == list(shipped())
    assert "AudioCodes Mediant" in command("list")[1]
    status, output, _ = command("show", "audiocodes")
    (tmp_path / "again.yaml").write_text(output)
    assert load_profile(tmp_path / "again.yaml") == shipped()["audiocodes"]
    found = json.loads(command("show", "audiocodes", "--json")[1])
    assert found["spans"]["d_channel"]["conditions"] == {"1": "d_channel_down"}


def test_a_profile_with_names_becomes_one_with_numbers(
    command: Any, mine: Path, tmp_path: Path
) -> None:
    status, output, error = command("numbers", mine, "--mibs", tmp_path / "mibs")
    assert (status, error) == (0, "")
    assert output.startswith("# Mine.\n")
    (tmp_path / "numbers.yaml").write_text(output)
    profile = load_profile(tmp_path / "numbers.yaml")
    assert profile.spans["state"].oid == "1.3.6.1.4.1.4711.5.1.1.2"
    assert command("show", mine, "--mibs", tmp_path / "mibs")[1] == output


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("show", "acme"), "'acme' is no file and no shipped profile; these are: audiocodes, cis"),
        (("show", "{folder}/none.yaml"), "none.yaml: cannot be read: No such file or directory"),
        (("show", "{file}"), "mybox.yaml:4: spans.state.oid: 'MYBOX-MIB::lineState' is no numeric"),
        (("numbers", "{file}", "--mibs", "{folder}"), "no MIB module lies here"),
        (("numbers", "{file}", "--mibs", "{folder}/x"), "x: cannot be read: No such file or dire"),
        (("test", "generic", "--address", "tg1", "--community", "env:X"), "'tg1' is no IPv4"),
        (("test", "generic", "--address", "10.0.0.1:0", "--community", "env:X"), "is no IPv4"),
        (("test", "generic", "--address", "10.0.0.1"), "--community REF is needed, or --user NAM"),
        (("test", "generic", "--address", "10.0.0.1", "--user", "noc"), "--community REF is need"),
        (
            ("test", "generic", "--address", "10.0.0.1", "--community", "planted-wrong-secret"),
            "is no env:NAME or file:/PATH",
        ),
        (
            ("test", "generic", "--address", "10.0.0.1", "--community", "env:T_NONE"),
            "snmp.community: env:T_NONE",
        ),
        (
            *(
                (
                    "test",
                    "generic",
                    "--address",
                    "10.0.0.1",
                    "--community",
                    "env:X",
                    "--spans",
                    "4-1",
                ),
            ),
            "'4-1' is no span or range of spans from 1 to 64",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    command: Any, mine: Path, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [one.format(file=mine, folder=tmp_path / "empty") for one in words]
    status, output, error = command(*filled)

    assert (status, output) == (2, "")
    assert error.startswith("keepline: ")
    assert line in error
    assert not any(secret in error for secret in SECRETS)


async def tried(*words: str) -> tuple[int, str, str]:
    """Another process: the gateway is played in this one."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node", "gateway", "profile", "test", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, output.decode(), error.decode()


@pytest.mark.real
async def test_a_profile_is_tried_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with simulated(1) as gateways:
        where = ("--address", f"{gateways.host(1)}:1161")
        v3 = ("--user", "noc", "--auth", "env:T_AUTH", "--privacy", "env:T_PRIVACY")
        status, output, error = await tried("audiocodes", *where, *v3, "--spans", "1-2,4")
        assert (status, error) == (0, "")
        assert "the profile fits" in output
        assert "spans.4.d_channel" in output
        v2c = ("--community", "env:T_COMMUNITY")
        status, output, _ = await tried("net-snmp", *where, *v2c, "--json")
        found = json.loads(output)
        assert status == 1
        assert "no such object" in [one["means"] for one in found["fields"]]
        assert found["advice"][1].startswith("scalars.load_1min_percent: there is no such object")
        wrong = ("--community", "env:T_WRONG", "--timeout", "200ms")
        status, output, error = await tried("generic", *where, *wrong)
        assert (status, output) == (1, "")
        assert error == (
            f"keepline: {gateways.host(1)}:1161: no answer to SNMP; are address and community "
            "right, and may we ask from here?\n"
        )
