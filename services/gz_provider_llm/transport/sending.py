"""How requests leave: the sessions of aiohttp, whose parser is not written in Python.

An answer of 24 words costs a provider 3 to 4 ms of computing by it and 7 to 9 by httpx, and where model and provider
share a machine that is what the answer comes later.
"""

import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import cache, lru_cache
from ipaddress import ip_address
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import certifi
from yarl import URL

from gleitzeit.errors import ConfigurationError
from gleitzeit.spec.urls import ESCAPES, not_understood

CONNECT_TIMEOUT_SECONDS = 5.0
KEEPALIVE_SECONDS = 30.0
SHORT_KEEPALIVE_SECONDS = 2.0
HEADER_BYTES, HEADERS = 64 * 1024, 1000
"""Of one header, and how many: proxies and those who count limits by token and model add some, long ones, too."""
CLOSE_AFTER_STREAMS = frozenset({"llama.cpp"})
"""What servers call themselves that close a connection after a stream without announcing it."""


def checked_url(url: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError as error:
        raise ConfigurationError(not_understood("a model server", url, error)) from None
    if parsed.scheme not in ("http", "https") or not parsed.host or "@" in parsed.raw_path:
        raise ConfigurationError("the URL of a model server begins with http:// or https:// and a host; " + ESCAPES)
    return parsed


@lru_cache(maxsize=64)
def without_user(url: str) -> URL:
    """Who is named in it stands in a header: see `headers_for`."""
    return URL(url).with_user(None)


def headers_for(url: URL, given: Mapping[str, str]) -> dict[str, str]:
    """Of every request. Raises ConfigurationError for a value that is no header: a key with a line break in it."""
    headers = {name.lower(): value for name, value in given.items()}
    if url.user or url.password:
        secret = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
        headers = {"authorization": f"Basic {secret}"} | headers
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"the value of the header {name} has characters that no header can have")
    return headers


class Sessions:
    """To one server; made at the first request, for they belong to the loop that runs then.

    How many requests run at once is the business of the provider's capacity, not of theirs.
    """

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._again: aiohttp.ClientSession | None = None
        self._once: aiohttp.ClientSession | None = None

    def again(self) -> aiohttp.ClientSession:
        """Its connections take one request after the other."""
        if self._again is None:
            # With TLS a new one costs, and those who offer it keep theirs for long.
            seconds = KEEPALIVE_SECONDS if self._url.scheme == "https" else SHORT_KEEPALIVE_SECONDS
            self._again = self._session(aiohttp.TCPConnector(limit=0, keepalive_timeout=seconds, ssl=self._tls))
        return self._again

    def once(self) -> aiohttp.ClientSession:
        """Each of its connections takes one request."""
        if self._once is None:
            self._once = self._session(aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._tls))
        return self._once

    async def close(self) -> None:
        for session in (self._again, self._once):
            if session is not None:
                await session.close()

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Silence is measured by those who wait, which can wait on.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
            max_field_size=HEADER_BYTES,
            max_headers=HEADERS,
            trust_env=not _is_local(self._url.host or ""),  # a proxy is for the world outside
            proxy=_proxy_for_all(self._url),
        )

    @property
    def _tls(self) -> ssl.SSLContext | bool:
        return tls() if self._url.scheme == "https" else True


@cache
def tls() -> ssl.SSLContext:
    """Whom we trust. Reading the certificates takes 30 ms."""
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=None if named else certifi.where())


def _proxy_for_all(url: URL) -> str | None:
    """What ALL_PROXY names, which aiohttp does not look at; None where the environment has another for such URLs."""
    host, named = url.host or "", getproxies_environment()
    proxy = named.get("all", "")
    if _is_local(host) or url.scheme in named or not proxy.startswith("http") or proxy_bypass(host):
        return None
    return proxy


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
