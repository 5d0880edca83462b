"""The pieces of RFC 3261's grammar (§25) that more than one module needs.

Every pattern is linear in its input: alternatives are disjoint in their first character and
quantifiers are possessive, because each of them meets text a stranger wrote. None that searches
begins with a repetition: it would be tried again from each of the repeated characters.
"""

import re

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"
QUOTED = r'"(?:[^"\\]|\\.)*+"'
PARAMETERS = rf"""(?:\s*+;\s*+{TOKEN}(?:\s*+=\s*+(?:{QUOTED}|[^\s;,"<>]++))?+)*+\s*+"""
"""Parameters of a header field value. A value may be more than a token: phones put @ and / in
tags.
"""

# A quote or bracket that never closes runs to the end, so that each character is looked at once.
_SEPARATOR = re.compile(r',|"(?:[^"\\]|\\.)*+(?:"|\\?$)|<[^>]*+(?:>|$)', re.DOTALL)
_TOKEN = re.compile(TOKEN)

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    429: "Provide Referrer Identity",
    433: "Anonymity Disallowed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""The standard phrase of each status (RFC 3261 §21 and its extensions)."""

_CLASSES = {1: "Progress", 2: "OK", 3: "Redirection", 4: "Bad Request", 5: "Server Error"}


_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
_COMMON = (
    "Accept", "Allow", "CSeq", "Call-ID", "Contact", "Content-Disposition", "Content-Length",
    "Content-Type", "Date", "Event", "Expires", "From", "Max-Forwards", "Min-SE", "Reason",
    "P-Asserted-Identity", "Record-Route", "Refer-To", "Require", "Route", "Server",
    "Session-Expires", "Subject", "Supported", "Timestamp", "To", "User-Agent", "Via",
)  # fmt: skip
SPELLINGS_MAX = 2048
"""Spellings of header names that are remembered; beyond it a new one is worked out each time."""
SPELLINGS: dict[str, str] = {name: name.lower() for name in _COMMON} | _COMPACT
"""The lower-case long name for spellings seen before. A memory only: it changes no answer."""


def header_name(spelling: str) -> str:
    """The lower-case long name for one spelling of a header name; "" if it is none."""
    name = spelling.rstrip(" \t").lower()
    if not is_token(name):
        return ""
    name = _COMPACT.get(name, name)
    if len(SPELLINGS) < SPELLINGS_MAX and len(spelling) < 64:
        SPELLINGS[spelling] = name
    return name


def phrase(status: int) -> str:
    """The standard reason phrase of `status`; of its class when it has none of its own."""
    return REASONS.get(status) or _CLASSES.get(status // 100, "Global Failure")


def is_token(text: str) -> bool:
    """Is `text` a token (RFC 3261 §25.1): a method, an option tag, a header field's name?"""
    return _TOKEN.fullmatch(text) is not None


def split_commas(value: str) -> list[str]:
    """The comma-separated elements of a header field value, stripped; commas in quotes and <> do
    not part.
    """
    if "," not in value:
        return [value.strip(" \t")]
    if '"' not in value and "<" not in value:
        return [part.strip(" \t") for part in value.split(",")]
    parts, start = [], 0
    for found in _SEPARATOR.finditer(value):
        if found[0] == ",":
            parts.append(value[start : found.start()].strip(" \t"))
            start = found.end()
    parts.append(value[start:].strip(" \t"))
    return parts
