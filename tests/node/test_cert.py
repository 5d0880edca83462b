"""`keepline cert`: what it makes, shows and renews, and that it writes over nothing."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.identity import Identity
from cluster.io.security import Secure, files_in
from node.authority import new_authority, pem
from node.cli import run


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one and answers its status, its output and what went wrong."""

    def done(*words: str | Path) -> tuple[int, str, str]:
        status = run([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return done


def made(command: Any, folder: Path, *more: str) -> None:
    status, _, error = command(
        "cert", "init", "--dir", folder, "--node", "n1=10.0.0.1,n2", "--operator", "ann",
        "--reader", "noc", *more,
    )  # fmt: skip
    assert (status, error) == (0, "")


def test_each_holder_has_all_it_needs_in_a_folder_of_its_own(command: Any, tmp_path: Path) -> None:
    made(command, tmp_path / "certs")

    holders = {"n1": "node", "n2": "node", "ann": "operator", "noc": "reader"}
    for name, role in holders.items():
        secure = Secure(files_in(tmp_path / "certs" / name))
        assert secure.own.holder == Identity(name, role)
    assert {path.name for path in (tmp_path / "certs").iterdir()} == {"ca", *holders}


def test_nobody_but_their_owner_reads_keys(command: Any, tmp_path: Path) -> None:
    made(command, tmp_path / "certs")

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "certs").rglob("*")}
    assert {mode for path, mode in modes.items() if path.suffix == ".key"} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert sum(path.suffix == ".key" for path in modes) == 5


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["init", "--node", "n3"], "certs/ca: there is a CA; keepline cert add makes more by it"),
        (["add", "--node", "n1"], "certs/n1: is there already; nothing was made"),
        (["add", "--node", "n3", "--reader", "n3"], "n3: is wanted twice; each holder has a fold"),
        (["add", "--operator", "ca"], "'ca' is no name of a holder"),
        (["add", "--reader", "../n3"], "'../n3' is no name of a holder"),
        (["add", "--reader", "x=10.0.0.1"], "'x=10.0.0.1' is no NAME=IP of a node"),
        (["add", "--node", "n3=here"], "'n3=here' is no NAME=IP of a node"),
        (["add"], "for whom? --node NAME, --operator NAME or --reader NAME"),
        (["add", "--node", "n3", "--days", "0"], "Invalid value for '--days'"),
        (["renew", "n9"], "certs/n9: has no tls.crt to renew"),
    ],
)
def test_what_is_refused_is_one_line_and_changes_nothing(
    command: Any, tmp_path: Path, words: list[str], line: str
) -> None:
    made(command, tmp_path / "certs")
    before = contents(tmp_path)
    status, output, error = command("cert", *words, "--dir", tmp_path / "certs")

    assert (status, output) == (2, "")
    assert error.startswith("keepline: ")
    assert error.count("\n") == 1
    assert line in error
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_one_line(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, error = command("cert", "init", "--dir", tmp_path / "file/below", "--node", "n1")

    assert status == 2
    assert error == f"keepline: {tmp_path}/file/below: cannot be made: Not a directory\n"


def test_more_are_made_by_the_same_ca(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made(command, folder)
    status, output, _ = command("cert", "add", "--dir", folder, "--node", "n3", "--days", "10")

    assert status == 0
    assert output == f"{folder}/n3: node n3\n"
    assert (folder / "n3/ca.crt").read_bytes() == (folder / "ca/ca.crt").read_bytes()
    left = Secure(files_in(folder / "n3"), node="n3").own.expiry.at - datetime.now(UTC)
    assert timedelta(days=9) < left < timedelta(days=10)


def test_renewing_changes_the_certificate_and_nothing_else(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made(command, folder, "--days", "3")
    before = contents(folder)
    status, output, _ = command("cert", "renew", "--dir", folder, "n1", "ann", "--days", "30")

    assert (status, output) == (0, f"{folder}/n1: node n1\n{folder}/ann: operator ann\n")
    changed = {path for path, content in contents(folder).items() if before.get(path) != content}
    assert changed == {folder / "n1/tls.crt", folder / "ann/tls.crt"}
    assert Secure(files_in(folder / "n1"), node="n1").alarms == []
    assert Secure(files_in(folder / "n2"), node="n2").alarms != []
    assert command("cert", "renew", "--dir", folder)[1].count("\n") == 4


def test_an_expired_ca_issues_nothing(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made(command, folder)
    old = new_authority(datetime.now(UTC) - timedelta(days=9), timedelta(days=8))
    (folder / "ca/ca.crt").write_bytes(pem(old.certificate))
    status, _, error = command("cert", "add", "--dir", folder, "--node", "n3")

    assert status == 2
    assert "certs/ca/ca.crt: expired on " in error


def test_it_is_shown_who_holds_what_until_when(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made(command, folder, "--days", "30")
    status, output, _ = command("cert", "show", folder, "--json")

    rows = json.loads(output)
    assert status == 0
    assert [(row["who"], row["role"], row["days"]) for row in rows] == [
        ("ann", "operator", 29),
        ("n1", "node", 29),
        ("n2", "node", 29),
        ("noc", "reader", 29),
        ("", "ca", 3649),
    ]
    assert rows[0]["file"] == str(folder / "ann/tls.crt")
    (alone,) = json.loads(command("cert", "show", folder / "n1", "--json")[1])
    assert alone == rows[1]
    assert "operator" in command("cert", "show", folder)[1]


def test_where_no_certificate_lies_is_told(command: Any, tmp_path: Path) -> None:
    assert command("cert", "show", tmp_path)[2] == (
        f"keepline: {tmp_path}: no certificate lies here; keepline cert init --dir {tmp_path}\n"
    )
