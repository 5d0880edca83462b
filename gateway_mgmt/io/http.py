"""POST, with a deadline, and an answer that says whether to try again."""

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from gateway_mgmt.io.courier import Refused, Unsent

AGAIN = (408, 425, 429)
"""Refusals that are not for good."""


def check_url(url: str) -> SplitResult:
    """The parts of an HTTP URL. Raises ValueError, without the URL: it may hold a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    return parts


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Returns when the receiver said 2xx. Raises Unsent or Refused. Follows no redirection."""
    status = await asyncio.to_thread(_post, check_url(url), body, headers, timeout_s, tls)
    if 200 <= status < 300:
        return
    if status >= 500 or status in AGAIN:
        raise Unsent(f"answers {status}")
    raise Refused(f"answers {status}")


def _post(
    parts: SplitResult,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
    tls: ssl.SSLContext | None,
) -> int:
    host = parts.hostname or ""
    if parts.scheme == "https":
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            host,
            parts.port,
            timeout=timeout_s,
            context=tls or ssl.create_default_context(),
        )
    else:
        link = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        link.request("POST", path, body, {"Content-Type": "application/json", **headers})
        return link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unsent(f"{host}: {type(error).__name__}") from None
    finally:
        link.close()
