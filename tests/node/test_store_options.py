"""What `--store` and its siblings may say."""

from pathlib import Path

import pytest

from node.store_options import StoreOptionError, StoreOptions, parse_store, read_password
from tests.node.running import keepline, write_centre

PASSWORD = "said to nobody"


def test_a_store_is_named_by_a_url_of_its_servers_and_a_prefix() -> None:
    assert parse_store("sqlite") == StoreOptions()
    etcd = parse_store("etcd://a.example:1,10.0.0.2/centre/north/")
    assert etcd.endpoints == (("a.example", 1), ("10.0.0.2", 2379))
    assert etcd.prefix == "centre/north"
    assert parse_store("zookeeper://z").url == "zookeeper://z:2181/keepline"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("etcd", "is not sqlite, etcd://... or zookeeper://..."),
        ("sqlite:///tmp/x", "is not sqlite, etcd://... or zookeeper://..."),
        ("consul://a:1", "is not sqlite, etcd://... or zookeeper://..."),
        ("etcd://", "'' is no HOST:PORT"),
        ("etcd://a:1,,b:1", "'' is no HOST:PORT"),
        ("etcd://a:0", "'a:0' is no HOST:PORT"),
        ("etcd://a:66000", "'a:66000' is no HOST:PORT"),
        ("etcd://a:b:1", "'a:b:1' is no HOST:PORT"),
        ("etcd://user:secret@a:1", "is no HOST:PORT"),
        ("etcd://a/../b", "'../b' is no prefix like centre/north"),
        ("etcd://a/b c", "'b c' is no prefix like centre/north"),
    ],
)
def test_what_is_no_store_is_named(url: str, why: str) -> None:
    with pytest.raises(StoreOptionError) as error:
        parse_store(url)
    assert why in error.value.why


def test_the_options_go_to_another_process_as_they_came(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for file in files.values():
        file.write_text("")
        file.chmod(0o600)
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    options = parse_store("etcd://a:1,b:2/c", user="u", password=f"file:{secret}", **files)
    words = dict(word.removeprefix("--").split("=", 1) for word in options.words())
    assert words.pop("store") == "etcd://a:1,b:2/c"
    assert words.pop("store-user") == "u"
    assert words.pop("store-password") == f"file:{secret}"
    assert words == {f"store-{name}": str(path) for name, path in files.items()}


def test_a_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    for where in (f"file:{secret}", "env:STORE_PASSWORD"):
        options = parse_store("etcd://a", user="u", password=where)
        assert read_password(options) == PASSWORD
        assert PASSWORD not in repr(options)


def test_a_password_and_a_key_that_others_can_read_are_refused(tmp_path: Path) -> None:
    for name in ("secret", "key.pem", "cert.pem"):
        (tmp_path / name).write_text(f"{PASSWORD}\n")
        (tmp_path / name).chmod(0o644)
    secret, key, cert = (tmp_path / name for name in ("secret", "key.pem", "cert.pem"))
    with pytest.raises(StoreOptionError) as error:
        parse_store("etcd://a", user="u", password=f"file:{secret}")
    assert str(error.value) == (
        f"--store-password: file:{secret}: others may read it; chmod 600 {secret}"
    )
    with pytest.raises(StoreOptionError, match=r"--store-key: .* others may read it"):
        parse_store("etcd://a", cert=cert, key=key)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--store-password", PASSWORD],
            "a secret is named by env:NAME or file:PATH",
        ),
        (["--store-password", "env:ABSENT"], "env:ABSENT: no such variable, or it is empty"),
        (["--store-password", "file:/absent"], "file:/absent: No such file or directory"),
        ([], "a user has a password, and a password a user"),
        (["--store-password", "env:HOME", "--store-ca", "/absent"], "/absent cannot be read"),
        (["--store-password", "env:HOME", "--store-key", "/etc/passwd"], "a certificate has a key"),
    ],
)
def test_what_is_missing_is_one_line_and_no_password(
    words: list[str], line: str, tmp_path: Path
) -> None:
    centre = write_centre(tmp_path, 5060)
    asked: list[str | Path] = [
        "up",
        "-c",
        centre,
        "--data",
        tmp_path / "data",
        "--store=etcd://127.0.0.1:1",
    ]
    done = keepline(*asked, "--store-user=u", *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr
