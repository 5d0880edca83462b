"""Names of MIB files as numbers: a site's own files; those of Debian as net-snmp has them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway_mgmt.io.mibs import load_mibs
from gateway_mgmt.mib import ROOTS, MibError, Mibs, read_mib, with_numbers
from gateway_mgmt.profile import read_profile

MINE = """
MYBOX-MIB DEFINITIONS ::= BEGIN
IMPORTS enterprises, OBJECT-TYPE, MODULE-IDENTITY FROM SNMPv2-SMI
        boxes FROM MYBOX-ROOT-MIB;
-- lineGone OBJECT IDENTIFIER ::= { boxes 7 } -- mybox MODULE-IDENTITY
mybox MODULE-IDENTITY
    LAST-UPDATED "202601010000Z"
    DESCRIPTION "A text with a ::= { boxes 9 } in it -- and more"
    ::= { boxes 5 }
lineTable OBJECT-TYPE
    SYNTAX SEQUENCE OF LineEntry
    DESCRIPTION "..."
    ::= { mybox 1 }
lineEntry OBJECT-TYPE SYNTAX LineEntry MAX-ACCESS not-accessible INDEX { lineIndex } ::= { lineTable 1 }
LineEntry ::= SEQUENCE { lineIndex INTEGER, lineState INTEGER }
lineState OBJECT-TYPE
    SYNTAX INTEGER { up(1), down(2) }
    DEFVAL { up }
    ::= { lineEntry 2 }
deep OBJECT IDENTIFIER ::= { iso org(3) dod(6) 1 4 1 99 }
END
MYBOX-ROOT-MIB DEFINITIONS ::= BEGIN
boxes OBJECT IDENTIFIER ::= { enterprises 4711 }
loop OBJECT IDENTIFIER ::= { pool 1 }
pool OBJECT IDENTIFIER ::= { loop 1 }
END
"""  # noqa: E501
MIBS = Mibs(read_mib(MINE))


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        ("MYBOX-MIB", "lineState", "1.3.6.1.4.1.4711.5.1.1.2"),
        ("MYBOX-MIB", "deep", "1.3.6.1.4.1.99"),
        ("MYBOX-ROOT-MIB", "boxes", "1.3.6.1.4.1.4711"),
    ],
)
def test_a_name_is_followed_to_its_root(module: str, name: str, number: str) -> None:
    assert MIBS.number(module, name) == number


@pytest.mark.parametrize(
    ("module", "name", "why"),
    [
        ("MYBOX-MIB", "lineGone", "MYBOX-MIB has no object lineGone"),
        ("OTHER-MIB", "x", "no MIB file has the module OTHER-MIB; there are: MYBOX-MIB, MYBOX-ROO"),
        ("MYBOX-ROOT-MIB", "loop", "is below itself"),
    ],
)
def test_a_name_that_cannot_be_is_told(module: str, name: str, why: str) -> None:
    with pytest.raises(MibError, match=why):
        MIBS.number(module, name)


def test_a_file_that_is_missing_is_named() -> None:
    alone = Mibs({"MYBOX-MIB": read_mib(MINE)["MYBOX-MIB"]})
    with pytest.raises(MibError) as error:
        alone.number("MYBOX-MIB", "lineState")
    assert str(error.value) == (
        "MYBOX-MIB: nothing says where boxes is, which MYBOX-ROOT-MIB has: its file is needed, too"
    )


PROFILE = b"""# Mine.
title: My box
spans:
  state: {oid: MYBOX-MIB::lineState, conditions: {2: los}}   # by line
scalars: {deep: "MYBOX-MIB::deep.0", plain: 1.3.6.1.4.1.1}
"""


def test_a_profile_gets_numbers_for_names_and_keeps_the_rest() -> None:
    text = with_numbers(PROFILE, "x.yaml", MIBS)

    assert text == PROFILE.replace(b"MYBOX-MIB::lineState", b'"1.3.6.1.4.1.4711.5.1.1.2"').replace(
        b'"MYBOX-MIB::deep.0"', b'"1.3.6.1.4.1.99.0"'
    )
    profile = read_profile(text, "x.yaml")
    assert profile.spans["state"].oid == "1.3.6.1.4.1.4711.5.1.1.2"
    assert profile.scalars == {"deep": "1.3.6.1.4.1.99.0", "plain": "1.3.6.1.4.1.1"}
    with pytest.raises(MibError, match=r"^x.yaml:4: MYBOX-MIB::lineStat: MYBOX-MIB has no object"):
        with_numbers(PROFILE.replace(b"lineState", b"lineStat"), "x.yaml", MIBS)
    assert with_numbers(b"title: [", "x.yaml", MIBS) == b"title: ["


def test_a_folder_without_mibs_is_told(tmp_path: Path) -> None:
    with pytest.raises(MibError, match=r"none: cannot be read: No such file"):
        load_mibs(tmp_path / "none")
    (tmp_path / "readme").write_bytes(b"\xff nothing")
    with pytest.raises(MibError, match="no MIB module lies here"):
        load_mibs(tmp_path)
    (tmp_path / "mine").write_text(MINE)
    assert load_mibs(tmp_path).number("MYBOX-MIB", "mybox") == "1.3.6.1.4.1.4711.5"


DEBIAN = Path("/usr/share/snmp/mibs")
SMI = "SNMPv2-SMI DEFINITIONS ::= BEGIN\n{}\nEND\n"


@pytest.mark.real
def test_the_mibs_of_debian_have_the_numbers_that_net_snmp_says(tmp_path: Path) -> None:
    if shutil.which("snmptranslate") is None or not DEBIAN.is_dir():
        pytest.fail("needs net-snmp: apt-get install snmp")
    roots = [
        f"{name} OBJECT IDENTIFIER ::= {{ {' '.join(['iso', *number.split('.')[1:]])} }}"
        for name, number in ROOTS.items()
        if "." in number
    ]
    (tmp_path / "SNMPv2-SMI.txt").write_text(SMI.format("\n".join(roots)))
    mibs = load_mibs(DEBIAN)
    names = [
        ("UCD-SNMP-MIB", "laLoadInt"),
        ("UCD-SNMP-MIB", "memAvailReal"),
        ("UCD-DISKIO-MIB", "diskIOReads"),
        ("NET-SNMP-AGENT-MIB", "nsModuleName"),
        ("NET-SNMP-EXTEND-MIB", "nsExtendOutLine"),
        ("LM-SENSORS-MIB", "lmTempSensorsValue"),
    ]
    for module, name in names:
        words = ["snmptranslate", "-M", f"{tmp_path}:{DEBIAN}", "-m", module, "-On"]
        said = subprocess.run(
            [*words, f"{module}::{name}"], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == f".{mibs.number(module, name)}"
