"""What model servers mean by their errors: from a status and some JSON to an exception with a name. Pure."""

from collections.abc import Collection
from typing import Final

import msgspec

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Unauthorized,
    UnreadableOutput,
)

RETRY_AFTER_SECONDS = 10.0  # for a server that says only that it is too much

_PASSING: Final = frozenset({408, 409, 425})
_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
}
_OVERFLOW: Final = (
    "context_length_exceeded", "exceed_context_size", "context length", "context window", "context size",
    "context limit", "prompt is too long", "input is too long", "too many tokens", "larger than the max context",
)  # fmt: skip
_UNREADABLE: Final = "produced output that does not match"
_NO_SUCH_MODEL: Final = ("not found", "does not exist", "not exist", "unknown model", "no such model", "invalid model")


def meaning(
    status: int, message: str, kind: str, url: str, retry_after_seconds: float | None, busy: Collection[int]
) -> GleitzeitError:
    """The exception for an answer with an HTTP status that is an error.

    `message` and `kind` are what `said` found in it; `busy` are the statuses of a server that is full.
    """
    text = f"{kind} {message}".lower()
    told = f"{url} says: {message}"
    if "insufficient_quota" in text or status == 402:
        return QuotaExceeded(told)
    if status in busy or status == 429 or (status == 503 and retry_after_seconds is not None):
        return RateLimited(told, RETRY_AFTER_SECONDS if retry_after_seconds is None else retry_after_seconds)
    if status in (401, 403):
        return Unauthorized(told, {"status": status})
    # Context windows first: such messages name the model, too. Some servers answer them with 500.
    if status in (400, 413, 422, 500) and any(word in text for word in _OVERFLOW):
        return ContextOverflow(told)
    if status in (400, 404) and "model" in text and any(word in text for word in ("model_not_found", *_NO_SUCH_MODEL)):
        return ModelNotFound(told)
    if _UNREADABLE in text:
        return UnreadableOutput(told, {"status": status})
    if status >= 500 or status in _PASSING:
        return ServerError(told, {"status": status})
    return BadRequest(told, {"status": status})


def said(answer: object) -> tuple[str, str]:
    """The message and the kind of an error, in whichever way a server puts it."""
    match answer:
        case {"error": {"message": str(message)} as error}:
            return message, f"{error.get('type') or ''} {error.get('code') or ''}"
        case {"error": str(message), **rest}:
            return message, f"{rest.get('type') or ''} {rest.get('code') or ''}"
        case {"message": str(message)} | {"detail": str(message)}:
            return message, ""
        case str():
            return answer.strip(), ""
    return msgspec.json.encode(answer).decode(), ""


def status_in(answer: object) -> int:
    """Which HTTP status an error in a stream would have had. Without a sign of it: the server's fault."""
    match answer:
        case {"error": {"code": int(code)}} if 400 <= code < 600:
            return code
        case {"error": {} as error}:
            return next(
                (_STATUS_OF_TYPE[word] for word in said({"error": error})[1].split() if word in _STATUS_OF_TYPE), 500
            )
    return 500
