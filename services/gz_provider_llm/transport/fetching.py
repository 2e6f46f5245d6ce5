"""PDFs out in the web, for model servers that take their contents only. Never from this machine or this network: a URL
may come from anybody whose text a model has read."""

import asyncio
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gleitzeit.provider.addresses import addresses_of
from gz_provider_llm.errors import BadRequest, LlmError, Unreachable
from gz_provider_llm.shapes.files import IMAGE_LIMIT_BYTES
from gz_provider_llm.transport.sending import CONNECT_TIMEOUT_SECONDS, tls

LIMIT_SECONDS = 30.0
MOST_REDIRECTS = 5
_MAY_PASS = frozenset({408, 425, 429})


async def fetched_pdf(url: str, *, private: bool = False, limit_seconds: float = LIMIT_SECONDS) -> bytes:
    """Its content. Raises BadRequest for what is no PDF, too large, or, unless `private`, in a private place;
    Unreachable, which can be tried again, for what cannot be had now."""
    try:
        async with asyncio.timeout(limit_seconds):
            return await _fetched(URL(url), private=private)
    except TimeoutError:
        raise Unreachable(f"{_shown(URL(url))} did not give its PDF within {limit_seconds:g} s") from None
    except _Private as error:
        raise BadRequest(str(error)) from None
    except aiohttp.ClientConnectorDNSError as error:  # a name that has changed its mind
        raise BadRequest(str(error.os_error)) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"{_shown(URL(url))} cannot be fetched: {error}") from None
    except ValueError:
        raise BadRequest(f"{url[:80]!r} is no URL of a PDF") from None


async def _fetched(url: URL, *, private: bool) -> bytes:
    connector = aiohttp.TCPConnector(ssl=tls(), resolver=None if private else _Outside())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
    # A proxy would look names up itself, and reach what we must not: none is asked.
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as web:
        for _ in range(MOST_REDIRECTS + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise BadRequest(f"{_shown(url)} is no address in the web")
            if not private:
                await _require_outside(url.host, url.port or 443)
            async with web.get(url, allow_redirects=False) as response:
                onward = response.headers.get("location")
                if not (300 <= response.status < 400 and onward):
                    return await _content(response, _shown(url))
                url = url.join(URL(onward))
    raise BadRequest(f"{_shown(url)} leads on more than {MOST_REDIRECTS} times")


async def _content(response: aiohttp.ClientResponse, shown: str) -> bytes:
    if response.status != 200:
        raise _refused(response.status, shown)
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > IMAGE_LIMIT_BYTES:
            raise BadRequest(f"{shown} is larger than {IMAGE_LIMIT_BYTES >> 20} MiB")
    if not content.startswith(b"%PDF-"):
        raise BadRequest(f"{shown} is no PDF")
    return bytes(content)


def _refused(status: int, shown: str) -> LlmError:
    message = f"{shown} cannot be fetched: its server answers with status {status}"
    return Unreachable(message) if status >= 500 or status in _MAY_PASS else BadRequest(message)


class _Private(OSError):
    """Where nothing is fetched from."""


class _Outside(AbstractResolver):
    """Names of machines out in the world. What was looked at is what is connected to: a name may change its mind."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await _require_outside(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


async def _require_outside(host: str, port: int) -> list[str]:
    addresses = await addresses_of(host, port)
    if not addresses:
        raise OSError(f"nobody knows {host}")
    if not all(address.is_global for address in addresses):
        raise _Private(f"{host} is an address of this machine or network: no PDF is fetched from there")
    return [str(address) for address in addresses]


def _shown(url: URL) -> str:
    """Without what may be a key."""
    return str(url.with_query(None).with_fragment(None).with_user(None)) if url.host else str(url)[:80]
