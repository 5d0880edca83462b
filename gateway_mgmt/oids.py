"""The objects that are read of any device, by number.

Numbers, names and meanings of enumerations are facts; no text of any MIB is shipped. What only one
vendor has is in `profiles/`.
"""

SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"
SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
SYS_NAME = "1.3.6.1.2.1.1.5.0"
SYSTEM = (SYS_UPTIME, SYS_NAME, SYS_OBJECT_ID)

ENGINE_ID = "1.3.6.1.6.3.10.2.1.1.0"
ENGINE_BOOTS = "1.3.6.1.6.3.10.2.1.2.0"
"""Of an SNMPv3 engine (RFC 3411): who it is, and how often it started."""

IF_ENTRY = "1.3.6.1.2.1.2.2.1"
IF_X_ENTRY = "1.3.6.1.2.1.31.1.1.1"
INTERFACE = {
    "admin": f"{IF_ENTRY}.7",
    "oper": f"{IF_ENTRY}.8",
    "in_errors": f"{IF_ENTRY}.14",
    "out_errors": f"{IF_ENTRY}.20",
    "in_octets": f"{IF_X_ENTRY}.6",
    "out_octets": f"{IF_X_ENTRY}.10",
}
"""Columns of the interface tables (RFC 2863); the index is ifIndex."""

DS1 = "1.3.6.1.2.1.10.18"
DS1_CONFIG = f"{DS1}.6.1"
DS1_CURRENT = f"{DS1}.7.1"
DS1_INTERVAL = f"{DS1}.8.1"

LINE = {
    "elapsed_s": f"{DS1_CONFIG}.3",
    "intervals": f"{DS1_CONFIG}.4",
    "status": f"{DS1_CONFIG}.10",
    "changed_ticks": f"{DS1_CONFIG}.16",
    "loopback": f"{DS1_CONFIG}.18",
}
"""Columns of dsx1ConfigTable (RFC 4805); the index is the line."""

COUNTERS = ("es", "ses", "sefs", "uas", "css", "pcv", "les", "bes", "dm", "lcv")
"""In the order of their columns: from 2 in dsx1CurrentTable, from 3 in dsx1IntervalTable."""
CURRENT = {name: f"{DS1_CURRENT}.{column}" for column, name in enumerate(COUNTERS, 2)}
INTERVAL = {name: f"{DS1_INTERVAL}.{column}" for column, name in enumerate(COUNTERS, 3)}
INTERVAL_VALID = f"{DS1_INTERVAL}.13"

TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"
LINE_STATUS_CHANGE = f"{DS1}.15.0.1"
COLD_START = "1.3.6.1.6.3.1.1.5.1"
LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"
LINK_UP = "1.3.6.1.6.3.1.1.5.4"
TRAPS = {
    COLD_START: "cold_start",
    "1.3.6.1.6.3.1.1.5.2": "warm_start",
    LINK_DOWN: "link_down",
    LINK_UP: "link_up",
    "1.3.6.1.6.3.1.1.5.5": "authentication_failure",
    LINE_STATUS_CHANGE: "line_status_change",
}
