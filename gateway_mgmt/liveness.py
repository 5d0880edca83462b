"""Is a SIP host alive? It is if it answers OPTIONS, unless by what means that it cannot serve."""

from sip.message import build_request

Address = tuple[str, int]

RETRY_MS = (500, 1_000)
"""OPTIONS are repeated after these (RFC 3261 §17.1.2.2, cut short)."""
DEADLINE_MS = 2_500
DOWN = (408, 503)


def options(target: Address, source: Address, token: str) -> bytes:
    """`token` makes branch, tag and Call-ID; one for each question, the same in its repeats."""
    host, port = source
    uri = f"sip:{target[0]}:{target[1]}"
    return build_request(
        "OPTIONS",
        uri,
        [
            ("Via", f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{token}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:keepline@{host}>;tag={token}"),
            ("To", f"<{uri}>"),
            ("Call-ID", f"{token}@{host}"),
            ("CSeq", "1 OPTIONS"),
        ],
    )


def is_alive(status: int) -> bool:
    return 200 <= status < 500 and status not in DOWN
