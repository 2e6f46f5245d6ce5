"""http/v1: one request a call, its redirects followed within bounds."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx
from msgspec import Struct

from gleitzeit.errors import InvalidParams, PayloadTooLarge, ProviderBusy, TaskError, TaskTimeout
from gleitzeit.provider import Call
from gleitzeit.provider.addresses import is_private
from gz_provider_http.answers import is_expected, result_of, unexpected
from gz_provider_http.rates import LONGEST_WAIT_SECONDS, Rates, interval_seconds
from gz_provider_http.requests import PORTS, USER_AGENT, Asked, build, led_on, shown

TIMEOUT_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
MOST_REDIRECTS: Final = 10
LIMIT_BYTES: Final = 1024 * 1024
VERBS: Final = ("get", "post", "put", "patch", "delete")


class Settings(Struct, frozen=True):
    """`private`: whether tasks may name addresses of this machine and this network."""

    private: bool = True


class HttpMethods:
    """`start` before the first request, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rates = Rates()
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # what one task is given is no other's business
        self._client = httpx.AsyncClient(
            headers={"user-agent": USER_AGENT},
            cookies=nothing,
            verify=_tls(),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=10.0),
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),  # a proxy is for elsewhere
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def request(self, call: Call, **params: Any) -> dict[str, Any]:
        return await self._run(call, str(params.get("method", "GET")).upper(), params)

    def verb(self, name: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        """The method `http/<name>`."""

        async def method(call: Call, **params: Any) -> dict[str, Any]:
            return await self._run(call, name.upper(), params)

        return method

    async def _run(self, call: Call, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._client is not None, "start() comes first"
        asked = build(self._client, method, params)
        given = [one for one in (params.get("timeout"), call.remaining_seconds) if one is not None]
        timeout_seconds = min(given, default=TIMEOUT_SECONDS)
        where = shown(asked.request.url)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._await_turn(params, asked.host)
                return await self._exchange(asked, params)
        except TimeoutError:
            raise TaskTimeout(f"{where} did not answer within {timeout_seconds:g} s") from None
        except httpx.InvalidURL as error:
            raise TaskError(f"{where}: {error}", retryable=False) from None
        except httpx.TimeoutException:
            raise TaskError(f"{where} could not be reached within {CONNECT_SECONDS:g} s") from None
        except httpx.DecodingError as error:
            raise TaskError(f"the answer of {where} cannot be decoded: {error}", retryable=False) from None
        except httpx.LocalProtocolError as error:
            raise InvalidParams(f"no request can be made of this: {error}") from None
        except httpx.RequestError as error:
            cause = _cause(error)
            untrusted = isinstance(cause, ssl.SSLCertVerificationError)
            raise TaskError(f"{where}: {_reason(cause)}", retryable=not untrusted) from None

    async def _await_turn(self, params: dict[str, Any], host: str) -> None:
        """What would wait long does not hold a place here meanwhile."""
        if "rate_limit" not in params:
            return
        try:
            interval = interval_seconds(params["rate_limit"])
        except ValueError as error:
            raise InvalidParams(str(error)) from None
        key = str(params.get("rate_limit_key") or host)
        wait = self._rates.wait_seconds(key, interval, asyncio.get_running_loop().time())
        if wait > LONGEST_WAIT_SECONDS:
            raise ProviderBusy(f"the rate limit of {key}", {"retryAfterSeconds": wait})
        await asyncio.sleep(wait)

    async def _exchange(self, asked: Asked, params: dict[str, Any]) -> dict[str, Any]:
        assert self._client is not None
        may_go_private = await self._check_place(asked.host, asked.port, asked=True)
        request = asked.request
        for _ in range(MOST_REDIRECTS + 1):
            request.extensions = {"timeout": _TIMEOUT}
            response = await self._client.send(request, stream=True)
            try:
                onward = response.next_request if asked.follow else None
                if onward is None or _is_wanted(response, asked):
                    return await _answer(response, asked, params)
            finally:
                await response.aclose()
            request = led_on(request, onward)
            port = request.url.port or PORTS.get(request.url.scheme, 0)
            if not port:
                raise TaskError(f"{shown(request.url)} is where a redirect leads: not followed", retryable=False)
            if await self._check_place(request.url.host, port, asked=False) and not may_go_private:
                target = f"{shown(request.url)}, an address of this network"
                raise TaskError(f"{shown(asked.request.url)} leads to {target}: not followed", retryable=False)
        raise TaskError(f"{shown(asked.request.url)} leads on more than {MOST_REDIRECTS} times", retryable=False)

    async def _check_place(self, host: str, port: int, *, asked: bool) -> bool:
        """Whether it is a private place. Raises TaskError where that is not allowed at all."""
        private = await is_private(host, port)
        if private and asked and not self._settings.private:
            message = f"{host} is an address of this machine or network, which this provider does not ask"
            raise TaskError(message, {"hint": "it was started with --no-private"}, retryable=False)
        return private


_TIMEOUT: Final = httpx.Timeout(None, connect=CONNECT_SECONDS).as_dict()
"""Of the whole, `asyncio.timeout` is in charge."""


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes a while."""
    return httpx.create_ssl_context()


def _is_wanted(response: httpx.Response, asked: Asked) -> bool:
    """A redirect that the author expects, by its status, is the answer."""
    return bool(asked.expected) and is_expected(response.status_code, asked.expected)


async def _answer(response: httpx.Response, asked: Asked, params: dict[str, Any]) -> dict[str, Any]:
    where = shown(response.request.url)
    good = is_expected(response.status_code, asked.expected)
    limit = int(params.get("max_size_bytes", LIMIT_BYTES))
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > limit:
            if good:
                message = f"the answer of {where} is larger than {limit} bytes; max_size_bytes allows more"
                raise PayloadTooLarge(message)
            break
    if not good:
        raise unexpected(response, bytes(content), asked.expected, where)
    return result_of(response, bytes(content), params, where)


def _cause(error: httpx.RequestError) -> BaseException:
    """What the system said, which httpx hides some levels below."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def _reason(cause: BaseException) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}; SSL_CERT_FILE names those that are"
        case ssl.SSLError():
            return f"no TLS connection can be made with it ({(cause.reason or str(cause)).replace('_', ' ').lower()})"
        case socket.gaierror():
            return f"its name is not known here ({(cause.strerror or str(cause)).lower()})"
        case OSError(errno=int(number)):
            return os.strerror(number)
    return str(cause) or type(cause).__name__
