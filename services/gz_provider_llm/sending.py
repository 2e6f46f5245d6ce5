"""How requests leave: over plain TCP where nothing stands between us and the server, else by httpx, which knows TLS and
proxies."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from ipaddress import ip_address
from urllib.request import getproxies

import httpx

from gleitzeit.errors import ConfigurationError
from gz_provider_llm.plain import PlainTransport

KEEPALIVE_SECONDS = 30.0
SHORT_KEEPALIVE_SECONDS = 2.0

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
"""Its answer has a head, and a body that is yet to be read; or it raises httpx.RequestError."""
Close = Callable[[], Awaitable[None]]


def sending_to(url: httpx.URL) -> tuple[Send, Close]:
    """To the server of this address."""
    return _plain() if _is_plain(url) else _client(url)


def checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("the URL of a model server begins with http:// or https:// and a host")
    return parsed


def _plain() -> tuple[Send, Close]:
    transport = PlainTransport(SHORT_KEEPALIVE_SECONDS)
    return transport.handle_async_request, transport.aclose


def _client(url: httpx.URL) -> tuple[Send, Close]:
    """httpx itself, which knows TLS and proxies. How many requests run at once is the business of the provider's
    capacity, not of the pool."""
    client = httpx.AsyncClient(
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=None,
            # With TLS a new one costs, and those who offer it keep theirs for long.
            keepalive_expiry=KEEPALIVE_SECONDS if url.scheme == "https" else SHORT_KEEPALIVE_SECONDS,
        ),
        # A proxy is for the world outside. Reading the certificates takes 30 ms.
        trust_env=not _is_local(url.host),
        verify=url.scheme == "https",
    )
    return partial(client.send, stream=True), client.aclose


def headers_for(url: httpx.URL, given: Mapping[str, str]) -> dict[str, str]:
    """Of every request."""
    headers = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": f"python-httpx/{httpx.__version__}"}
    if url.username or url.password:
        headers["authorization"] = "Basic " + b64encode(f"{url.username}:{url.password}".encode()).decode()
    return headers | {name.lower(): value for name, value in given.items()}


def _is_plain(url: httpx.URL) -> bool:
    """Neither TLS nor a proxy is between us and the server."""
    return url.scheme == "http" and (_is_local(url.host) or not getproxies().keys() & {"http", "all"})


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
