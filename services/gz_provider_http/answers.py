"""What a server answered, as the result of a task; and what a bad answer means for the task."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import jsonpath
import msgspec

from gleitzeit.errors import InvalidParams, TaskError

RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
SHOWN_CHARACTERS: Final = 2000
"""Of a body, in an error."""


def is_expected(status: int, expected: tuple[str, ...]) -> bool:
    """Without a wish: whatever is no error."""
    if not expected:
        return status < 400
    return any(str(status) == one or (one.endswith("xx") and one[:1] == str(status)[:1]) for one in expected)


def unexpected(response: httpx.Response, content: bytes, expected: tuple[str, ...], where: str) -> TaskError:
    status = response.status_code
    wanted = f", not {' or '.join(expected)}" if expected else ""
    body = _text(response, content)[:SHOWN_CHARACTERS]
    data: dict[str, Any] = {"status_code": status, "body": body, "url": where}
    if (after := _retry_after(response.headers.get("retry-after", ""))) is not None:
        data["retryAfterSeconds"] = after
    said = f": {' '.join(body.split())[:200]}" if body.strip() else ""
    return TaskError(
        f"{where} answered {status} {response.reason_phrase}".rstrip() + wanted + said,
        data,
        retryable=status in RETRYABLE,
    )


def _retry_after(text: str) -> float | None:
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, (at.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def result_of(response: httpx.Response, content: bytes, params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`response` is the body as a value, `result` what was extracted from it, or the same."""
    kind = params.get("response_type", "auto")
    body = _value(response, content, kind, where)
    extract = params.get("extract")
    found: dict[str, Any] = {
        "status_code": response.status_code,
        "headers": {name.lower(): value for name, value in response.headers.items()},
        "url": where,
        "size_bytes": len(content),
        "response": body,
    }
    found["result"] = body if extract is None else {name: _extracted(body, path) for name, path in extract.items()}
    if extract is not None:
        found["extracted"] = found["result"]
    return found


def _value(response: httpx.Response, content: bytes, kind: str, where: str) -> Any:
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "auto":
        kind = "json" if media.endswith(("/json", "+json")) else "text" if _is_text(media, content) else "binary"
        if kind == "json" and not content.strip():
            return None
    if kind == "json":
        try:
            return msgspec.json.decode(_text(response, content, "strict").removeprefix("\ufeff"))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            shown = content[:200].decode(errors="replace")
            raise TaskError(f"{where} answered what is no JSON ({error}): {shown!r}", retryable=False) from None
    if kind == "binary":
        return base64.b64encode(content).decode()
    return _text(response, content)


def _text(response: httpx.Response, content: bytes, errors: str = "replace") -> str:
    return content.decode(response.encoding or "utf-8", errors)


def _is_text(media: str, content: bytes) -> bool:
    if media.startswith("text/") or media in ("application/xml", "application/x-ndjson", "application/javascript"):
        return True
    if media and media != "application/octet-stream":
        return media.endswith(("+xml", "urlencoded"))
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _extracted(body: Any, path: str) -> Any:
    """One value where the path can only mean one (null if it is not there), a list where it may mean several."""
    try:
        query = jsonpath.compile(path)
        if isinstance(query, jsonpath.JSONPath) and query.singular_query():
            match = query.match(body)
            return None if match is None else match.value
        return query.findall(body)
    except (jsonpath.JSONPathError, RecursionError) as error:
        raise InvalidParams(f"extract: {path!r} is not a JSONPath: {error}") from None
