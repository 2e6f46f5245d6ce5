"""The params of a task as an HTTP request."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from msgspec import Struct

from gleitzeit.errors import InvalidParams
from gleitzeit.spec.urls import not_understood
from gleitzeit.spec.urls import shown as of_text

USER_AGENT: Final = "gleitzeit-http/1"

PORTS: Final = {"http": 80, "https": 443}

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BY_THE_BODY: Final = ("content-length", "transfer-encoding")
_OF_THE_REQUEST: Final = frozenset(
    [
        "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection",
        "content-encoding", "content-language", "content-length", "content-type", "host", "if-match",
        "if-modified-since", "if-none-match", "if-unmodified-since", "prefer", "range", "traceparent",
        "tracestate", "user-agent",
    ]
)  # fmt: skip
"""Headers that say nothing of who asks."""

Query = list[tuple[str, str | int | float | bool | None]]


class Asked(Struct, frozen=True):
    """A request, and what its author wants of the answer. `expected`: status codes, or hundreds as `2xx`."""

    request: httpx.Request
    expected: tuple[str, ...]
    follow: bool
    host: str
    port: int


def build(client: httpx.AsyncClient, method: str, params: Mapping[str, Any]) -> Asked:
    """Raises InvalidParams for what the schema cannot know to be wrong."""
    text = params["url"].strip()
    _check_url(text)
    given = params.get("headers", {}).items()
    headers = {name: _header(name, value) for name, value in given if name.lower() not in _BY_THE_BODY}
    query: Query = [(name, _query(value)) for name, value in _pairs(params.get("params", {}))]
    headers, query = _with_auth(params.get("auth"), headers, query)
    body, kind = _body(params)
    if kind and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = kind
    try:
        url = httpx.URL(text).copy_merge_params(httpx.QueryParams(query)) if query else httpx.URL(text)
        request = client.build_request(method, url, headers=headers, content=body)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidParams(f"no request can be made of this: {error}") from None
    expected = params.get("expected_status", "")
    listed = expected if isinstance(expected, list) else [expected]
    port = request.url.port or PORTS[request.url.scheme]
    return Asked(
        request,
        tuple(str(one).lower() for one in listed if one != ""),
        bool(params.get("follow_redirects", True)),
        request.url.host,
        port,
    )


def shown(url: httpx.URL) -> str:
    """Fit for everybody's eyes: without password, query and fragment, which may hold keys."""
    return of_text(str(url.copy_with(userinfo=b"", query=None, fragment=None)))


def led_on(request: httpx.Request, onward: httpx.Request) -> httpx.Request:
    """`onward`, to which `request` was redirected, without what its author meant for another host: a credential may
    stand in any header."""
    if _is_same_place(request.url, onward.url):
        if cookie := request.headers.get("cookie"):  # httpx has a jar for them, and we have none
            onward.headers["cookie"] = cookie
        return onward
    for name in set(onward.headers) - _OF_THE_REQUEST:
        del onward.headers[name]
    return onward


def _is_same_place(one: httpx.URL, other: httpx.URL) -> bool:
    """Also where the same host only wants https."""
    places = [(url.scheme, url.port or PORTS.get(url.scheme)) for url in (one, other)]
    return one.host == other.host and (places[0] == places[1] or places == [("http", 80), ("https", 443)])


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidParams(f"url: {not_understood('a request', url, error)}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidParams(f"url begins with http:// or https:// and a host, not {of_text(url)[:60]!r}")


def _header(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if any(character in f"{name}{text}" for character in "\r\n\0"):
        raise InvalidParams(f"header {name!r}: a line break cannot be part of it")
    if not _TOKEN.fullmatch(name):
        raise InvalidParams(f"header {name!r}: a name is made of letters, digits and hyphens")
    if not text.isascii():
        raise InvalidParams(f"header {name!r}: its value has characters beyond ASCII; percent-encode them")
    return text


def _pairs(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """`{tag: [a, b]}` is `tag=a&tag=b`; null is left out."""
    listed = [(name, value if isinstance(value, list) else [value]) for name, value in params.items()]
    return [(name, one) for name, values in listed for one in values if one is not None]


def _query(value: object) -> str:
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_auth(auth: Mapping[str, Any] | None, headers: dict[str, str], query: Query) -> tuple[dict[str, str], Query]:
    match (auth or {}).get("type"):
        case "bearer":
            return {**headers, "Authorization": _header("Authorization", f"Bearer {_of(auth, 'token')}")}, query
        case "basic":
            pair = f"{_of(auth, 'username')}:{_of(auth, 'password')}".encode()
            return {**headers, "Authorization": f"Basic {base64.b64encode(pair).decode()}"}, query
        case "api_key":
            assert auth is not None
            name = str(auth.get("name") or auth.get("header") or "X-API-Key")
            if auth.get("in") == "query":
                return headers, [*query, (name, str(_of(auth, "key")))]
            return {**headers, name: _header(name, _of(auth, "key"))}, query
    return headers, query


def _of(auth: Mapping[str, Any] | None, key: str) -> Any:
    if (value := (auth or {}).get(key)) is None:
        raise InvalidParams(f"auth of type {(auth or {}).get('type')} needs '{key}'")
    return value


def _body(params: Mapping[str, Any]) -> tuple[bytes | None, str]:
    """And its content type, if there is no doubt."""
    given = [key for key in ("json", "data", "body") if key in params]
    if len(given) > 1:
        raise InvalidParams(f"{' and '.join(given)} are both given: a request has one body")
    if not given:
        return None, ""
    value = params[given[0]]
    if given != ["json"] and isinstance(value, str):
        return value.encode(), ""
    if given != ["json"] and isinstance(value, Mapping):
        pairs = [(name, _query(one)) for name, one in _pairs(value)]
        return urlencode(pairs).encode(), "application/x-www-form-urlencoded"
    return msgspec.json.encode(value), "application/json"
