"""What a SIP URI and a name-addr say: their parts, tags, and where a literal address leads (RFC
3261 §19, §20.10).

`uri_of`, `tag_of` and `user_of` never raise: a value without the thing asked for gives "". What
must be well formed goes through `parse_uri` and `host_port`, which raise BadUri.
"""

import re
from functools import lru_cache
from urllib.parse import unquote

import msgspec

from sip.grammar import PARAMETERS, QUOTED, TOKEN

Address = tuple[str, int]
"""A numeric IP address (IPv6 without brackets) and a port."""

DEFAULT_PORT = 5060
KEPT_LENGTH = 100
"""A phone's URI of up to so many characters is read once: it comes with every call of that phone.
A stranger's longer one shall not fill the memory.
"""


class SipError(Exception):
    """Anything about a SIP message that has an answer; `status` is the answer."""

    status = 500


class BadUri(SipError):
    """Not a URI we can read, or not one with a literal address where one is needed."""

    status = 400


class Uri(msgspec.Struct, frozen=True):
    """The parts of a URI as written, unescaped nowhere. `opaque` is all behind the scheme when not
    sip or sips.
    """

    scheme: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 0
    parameters: dict[str, str] = {}
    headers: str = ""
    opaque: str = ""


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
_HOST_PORT = re.compile(
    r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9](?:[A-Za-z0-9\-.]*+))(?::([0-9]{1,5}+))?+"
)
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})++")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*+")
_REST = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$;=?]|%[0-9A-Fa-f]{2})*+")
_OPAQUE = re.compile(r"(?:[A-Za-z0-9\-_.!~*'();/?:@&=+$,\[\]#]|%[0-9A-Fa-f]{2})++")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?=.)|$)){4}")
_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]{2,45}")
_TAG = re.compile(r";\s*+tag\s*+=\s*+([^;,\s>\"]++)", re.IGNORECASE | re.ASCII)
# What nearly every URI and address looks like; anything else goes the thorough way.
_PLAIN = (
    r"sip:(?:[A-Za-z0-9\-_.+]++@)?+[A-Za-z0-9][A-Za-z0-9\-.]*+(?::[1-9][0-9]{0,3}+)?+"
    r"(?:;[A-Za-z0-9\-_.=]++)*+"
)
_PLAIN_URI = re.compile(_PLAIN)
_PLAIN_ADDRESS = re.compile(
    rf'(?:"[^"\\]*+"\s*+|[A-Za-z0-9]++\s*+)?+<{_PLAIN}>(?:;{TOKEN}(?:={TOKEN})?+)*+', re.ASCII
)
_LEADING_QUOTE = re.compile(r'\s*+"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NAME_ADDR = re.compile(
    rf"(?:{QUOTED}|(?:{TOKEN}\s++)*+(?:{TOKEN})?+)\s*+<([^<>\s\"]++)>{PARAMETERS}",
    re.DOTALL | re.ASCII,
)
_ADDR_SPEC = re.compile(rf"([^<>\s\";?,]++){PARAMETERS}", re.DOTALL | re.ASCII)


def parse_uri(text: str) -> Uri:
    """The parts of an absolute URI; of a sip or sips URI each part is checked (RFC 3261 §19.1.1).

    Raises BadUri. The scheme comes in lower case, parameter names too.
    """
    found = _SCHEME.match(text)
    if found is None:
        raise BadUri("no scheme")
    scheme = found[1].lower()
    rest = text[found.end() :]
    if scheme not in ("sip", "sips"):
        if not _OPAQUE.fullmatch(rest):
            raise BadUri("malformed URI")
        return Uri(scheme, opaque=rest)
    userinfo, at, rest = rest.rpartition("@")
    user, _, password = userinfo.partition(":")
    if at and not (_USER.fullmatch(user) and _PASSWORD.fullmatch(password)):
        raise BadUri("malformed user part")
    found = _HOST_PORT.match(rest)
    if found is None:
        raise BadUri("malformed host")
    port = int(found[2]) if found[2] else 0
    if port > 65535 or (found[2] and not port):
        raise BadUri("port out of range")
    tail = rest[found.end() :]
    if not _REST.fullmatch(tail) or (tail and tail[0] not in ";?"):
        raise BadUri("malformed host or parameters")
    parameters, _, headers = tail.partition("?")
    pairs = (p.partition("=") for p in parameters.split(";") if p)
    return Uri(
        scheme=scheme,
        user=user,
        password=password,
        host=found[1],
        port=port,
        parameters={name.lower(): value for name, _, value in pairs},
        headers=headers,
    )


def is_plain(uri: str) -> bool:
    """Is this a sip URI without escapes, password, odd characters or headers, and well formed?"""
    return _PLAIN_URI.fullmatch(uri) is not None


def is_address(value: str) -> bool:
    """Is this a name-addr, or an addr-spec without `?` and `,`, with well-formed parameters (RFC
    3261 §20.10)?
    """
    if _PLAIN_ADDRESS.fullmatch(value) or _PLAIN_URI.fullmatch(value):
        return True
    found = _NAME_ADDR.fullmatch(value) or _ADDR_SPEC.fullmatch(value)
    if found is None:
        return False
    try:
        parse_uri(found[1])
    except BadUri:
        return False
    return True


def uri_of(value: str) -> str:
    """The URI of a name-addr or addr-spec header field value, without brackets; "" if there is
    none.
    """
    start = value.find("<")
    if start < 0:
        return value.partition(";")[0].strip()
    if '"' in value[:start]:
        quoted = _LEADING_QUOTE.match(value)
        start = value.find("<", quoted.end()) if quoted else -1
    end = value.find(">", start)
    return value[start + 1 : end].strip() if 0 <= start < end else ""


def display_name_of(value: str) -> str:
    """The display name of a name-addr, unquoted and unescaped; "" if there is none."""
    quoted = _LEADING_QUOTE.match(value)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[0].strip()[1:-1], flags=re.DOTALL)
    before, bracket, _ = value.partition("<")
    return before.strip() if bracket else ""


def tag_of(value: str) -> str:
    """The tag parameter of a From or To value; "" if there is none."""
    start = value.rfind(">") + 1
    at = value.find(";tag=", start)
    if at >= 0:
        end = value.find(";", at + 5)
        return value[at + 5 : end if end > 0 else None].strip()
    if ";" not in value:
        return ""
    found = _TAG.search(value, start)
    return found[1] if found else ""


def user_of(uri: str) -> str:
    """The user part of a sip, sips or tel URI, unescaped, without password: whom a caller dialled;
    or "".
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return ""
    if scheme.lower() == "tel":
        return rest.partition(";")[0]
    user, at, _ = rest.rpartition("@")
    if not at:
        return ""
    user = user.partition(":")[0]
    return unquote(user, "latin-1") if "%" in user else user


def is_ip(host: str) -> bool:
    """Is `host` a literal IPv4 or IPv6 address (brackets already off)?"""
    return _IPV4.fullmatch(host) is not None or (":" in host and bool(_IPV6.fullmatch(host)))


def split_host(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """`host[:port]` (a sent-by) as host without brackets and port. Raises BadUri; a name is not
    refused.
    """
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise BadUri("malformed host")
    port = int(found[2]) if found[2] else default_port
    if not 0 < port <= 65535:
        raise BadUri("port out of range")
    return found[1].strip("[]"), port


def host_port(uri: str) -> Address:
    """Where a request for this sip or sips URI goes over UDP: its maddr or host, which must be a
    literal IP address, and its port or 5060.

    Raises BadUri, also for a host name: nothing here asks DNS.
    """
    return _kept_host_port(uri) if len(uri) <= KEPT_LENGTH else _host_port(uri)


def _host_port(uri: str) -> Address:
    parts = parse_uri(uri)
    if parts.scheme not in ("sip", "sips"):
        raise BadUri("not a SIP URI")
    host = (parts.parameters.get("maddr") or parts.host).strip("[]")
    if not is_ip(host):
        raise BadUri("not a literal address")
    return host, parts.port or DEFAULT_PORT


_kept_host_port = lru_cache(maxsize=4096)(_host_port)
