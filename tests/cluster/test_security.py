"""What is wrong with a certificate is one line that names the file, before anything listens."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding
from cryptography.hazmat.primitives.serialization import PrivateFormat as Format

from cluster.certificate import Expiry, why_distrusted
from cluster.identity import Files, Identity, NotSecure
from cluster.io.security import Open, Secure, files_in
from node.authority import begun, new_key, pem, pem_of_key
from tests.cluster.papers import YEAR, Papers

DAY = timedelta(days=1)


def wrong(files: Files, node: str = "n1") -> str:
    """The line, with the folder left out."""
    with pytest.raises(NotSecure) as refused:
        Secure(files, node=node)
    (line,) = str(refused.value).splitlines()
    return line.replace(f"{Path(files.cert).parent}/", "")


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


def test_a_whole_set_of_files_is_taken(papers: Papers) -> None:
    secure = Secure(papers.give("n1"), node="n1")

    assert secure.own.holder == Identity("n1", "node")
    assert secure.alarms == []


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key"])
def test_a_file_that_is_missing_is_named(papers: Papers, name: str) -> None:
    files = papers.give("n1")
    (papers.folder / "n1" / name).unlink()

    assert wrong(files) == f"{name}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ca.crt", "ca.crt: is no certificate in PEM"),
        ("tls.crt", "tls.crt: is no certificate in PEM"),
        ("tls.key", "tls.key: is no private key in PEM without a password"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_is_something_else_is_named(
    papers: Papers, name: str, line: str, content: bytes
) -> None:
    files = papers.give("n1")
    (papers.folder / "n1" / name).write_bytes(content)

    assert wrong(files) == line


def test_a_key_under_a_password_is_no_use(papers: Papers) -> None:
    files = papers.give("n1")
    locked = new_key().private_bytes(Encoding.PEM, Format.PKCS8, BestAvailableEncryption(b"x"))
    Path(files.key).write_bytes(locked)

    assert wrong(files) == "tls.key: is no private key in PEM without a password"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o666])
def test_a_key_that_others_can_use_is_refused(papers: Papers, mode: int) -> None:
    files = papers.give("n1")
    Path(files.key).chmod(mode)

    assert wrong(files) == "tls.key: others may use this key; chmod 600 tls.key"


def test_a_key_of_another_certificate_is_told(papers: Papers) -> None:
    files = papers.give("n1")
    Path(files.key).write_bytes(pem_of_key(new_key()))

    assert wrong(files) == "tls.key: is not the key of tls.crt"


def test_an_expired_certificate_is_told_with_its_day(papers: Papers) -> None:
    files = papers.give("n1", since=3 * DAY, lasts=2 * DAY)
    at = datetime.now(UTC) - DAY

    assert wrong(files).startswith(f"tls.crt: expired on {at:%Y-%m-%d} ")


def test_a_certificate_of_tomorrow_is_told(papers: Papers) -> None:
    assert "tls.crt: is valid only from " in wrong(papers.give("n1", since=-DAY))


def test_an_expired_ca_is_told_as_such(tmp_path: Path) -> None:
    old = Papers(tmp_path, since=3 * YEAR, lasts=2 * YEAR)

    # A certificate lasts no longer than its CA, if it is ours that issues it.
    assert wrong(old.give("n1", since=3 * YEAR, lasts=9 * YEAR)).startswith("tls.crt: expired on ")
    later = begun_by(old, datetime.now(UTC) + YEAR)
    (tmp_path / "n1/tls.crt").write_bytes(later)
    assert wrong(files_in(tmp_path / "n1")).startswith("ca.crt: expired on ")


def begun_by(papers: Papers, until: datetime) -> bytes:
    """A certificate for the key of n1 that outlives its CA."""
    own = x509.load_pem_x509_certificate((papers.folder / "n1/tls.crt").read_bytes())
    authority = papers.authority
    builder = begun(
        own.subject, authority.certificate.subject, own.public_key(), datetime.now(UTC), until
    )
    return pem(builder.sign(authority.key, hashes.SHA256()))


def test_a_certificate_of_a_strangers_ca_is_told(papers: Papers, tmp_path: Path) -> None:
    files = papers.give("n1")
    stranger = Papers(tmp_path / "elsewhere")
    Path(files.ca).write_bytes(pem(stranger.authority.certificate))

    assert wrong(files) == "tls.crt: was not issued by the CA in ca.crt"


def test_of_two_cas_in_the_file_either_will_do(papers: Papers, tmp_path: Path) -> None:
    files = papers.give("n1")
    stranger = Papers(tmp_path / "elsewhere")
    both = pem(stranger.authority.certificate) + pem(papers.authority.certificate)
    Path(files.ca).write_bytes(both)

    assert Secure(files, node="n1").own.holder.name == "n1"


@pytest.mark.parametrize(
    ("name", "role", "whose"),
    [("n2", "node", "node n2"), ("n1", "operator", "operator n1"), ("N1", "node", "node N1")],
)
def test_a_node_started_with_anothers_certificate_is_refused(
    papers: Papers, name: str, role: str, whose: str
) -> None:
    line = wrong(papers.give(name, role))

    assert line == f"tls.crt: is the certificate of {whose}, not of node n1"


Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def dns(*names: str) -> Change:
    found = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return lambda builder: builder.add_extension(found, critical=False)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda builder: builder, "it has: none"),
        (dns("n1.example.org"), "it has: n1.example.org"),
        (
            dns("n1.node.keepline", "n1.operator.keepline"),
            "it has: n1.node.keepline, n1.operator.keepline",
        ),
        (dns("n1.node.keepline"), "a node's must have the DNS name node.keepline, too"),
    ],
)
def test_a_certificate_of_an_own_ca_without_the_names_is_refused(
    papers: Papers, change: Change, line: str
) -> None:
    files = papers.give("n1")
    write_own(papers, change)

    assert wrong(files).endswith(line)


@pytest.mark.parametrize(
    ("usage", "lacks"),
    [(x509.OID_SERVER_AUTH, "client"), (x509.OID_CLIENT_AUTH, "server")],
)
def test_a_certificate_that_one_side_could_not_use_is_refused(
    papers: Papers, usage: x509.ObjectIdentifier, lacks: str
) -> None:
    files = papers.give("n1")
    named = dns("n1.node.keepline", "node.keepline")
    write_own(
        papers,
        lambda builder: named(builder).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        ),
    )

    assert wrong(files) == f"tls.crt: its extended key usage does not allow a TLS {lacks}"


def write_own(papers: Papers, change: Change) -> None:
    """Issue n1's anew, with nothing in it but what `change` adds."""
    own = x509.load_pem_x509_certificate((papers.folder / "n1/tls.crt").read_bytes())
    authority = papers.authority
    now = datetime.now(UTC)
    builder = begun(
        own.subject, authority.certificate.subject, own.public_key(), now, now + YEAR / 2
    )
    made = pem(change(builder).sign(authority.key, hashes.SHA256()))
    (papers.folder / "n1/tls.crt").write_bytes(made)


def test_a_certificate_by_an_intermediate_ca_is_taken(papers: Papers) -> None:
    files = papers.give("n1")
    now = datetime.now(UTC)
    key = new_key()
    root = papers.authority
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "between")])
    between = (
        begun(name, root.certificate.subject, key.public_key(), now, now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    own = x509.load_pem_x509_certificate(Path(files.cert).read_bytes())
    builder = begun(own.subject, between.subject, own.public_key(), now, now + YEAR)
    made = dns("n1.node.keepline", "node.keepline")(builder).sign(key, hashes.SHA256())
    Path(files.cert).write_bytes(pem(made) + pem(between))

    secure = Secure(files, node="n1")

    assert secure.own.expiry == Expiry(files.cert, between.not_valid_after_utc)
    Path(files.cert).write_bytes(pem(made))
    assert wrong(files) == "tls.crt: was not issued by the CA in ca.crt"


def test_the_folder_of_all_holders_is_no_holders(papers: Papers) -> None:
    papers.give("n1")
    papers.give("ann", "operator")

    with pytest.raises(NotSecure) as refused:
        files_in(papers.folder)
    here = papers.folder
    assert str(refused.value) == (
        f"{here}: holds several certificates; name one: {here}/ann, {here}/n1"
    )


def test_a_certificate_is_an_alarm_from_14_days_before_it_expires(papers: Papers) -> None:
    at = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)
    expiry = Expiry(papers.folder / "tls.crt", at)

    assert expiry.alarm(at - 15 * DAY) == ""
    assert expiry.alarm(at - 14 * DAY).endswith("tls.crt expires on 2030-05-17 12:00 UTC: renew it")
    assert "tls.crt expired on 2030-05-17 12:00 UTC: links that break" in expiry.alarm(at)
    assert Secure(papers.give("n1", lasts=13 * DAY)).alarms[0].endswith(": renew it")


def test_without_certificates_no_address_of_other_machines_is_used() -> None:
    Open().permit({"n1": "127.0.0.1:1", "n2": "127.1.2.3:1"})
    for address in ("0.0.0.0:20001", "192.0.2.1:20001"):
        with pytest.raises(NotSecure, match=f"node n2: {address} can be reached from other mach"):
            Open().permit({"n1": "127.0.0.1:1", "n2": address})


def test_what_has_nothing_to_do_with_certificates_is_no_distrust() -> None:
    assert why_distrusted("Failed to connect to remote host: Connection refused") == ""
    assert why_distrusted("Socket closed") == ""
