"""What model servers mean by their errors: from a status and some JSON to an exception with a name. Pure."""

import re
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
    Refused,
    ServerError,
    Unauthorized,
    UnreadableOutput,
)

RETRY_AFTER_SECONDS = 10.0  # for a server that says only that it is too much
LOADING_SECONDS: Final = 2.0
"""For one that loads its model, and will take requests when it has."""
AT_ONCE_SECONDS: Final = 1.0
"""For one that says to come again at once, or that the time for it is past: else it were asked without end."""
_LEAST_SECONDS: Final = 0.1

_PASSING: Final = frozenset({408, 409, 425, 498})
"""498 is Groq's word for no capacity."""
_BUSY_IF_TOLD: Final = frozenset({402, 503, 529})
"""Of which a server that says when to come again means that it has too much to do."""
_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "billing_error": 402,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
}
_LOADING: Final = ("loading model", "currently loading", "model is loading")
"""By a server that is being started."""
_FOR_GOOD: Final = (
    "jinja", "chat template", "roles are supported", "role not supported", "roles must alternate",
    "input is not supported",
)  # fmt: skip
"""What a model, or its template, does not take, it never will, though some servers call it a fault of theirs."""
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_OVERFLOW: Final = (
    "context_length_exceeded", "exceed_context_size", "context length", "context window", "context size",
    "context limit", "prompt is too long", "input is too long", "too many tokens", "larger than the max context",
    "reduce the length of the",
    "maximum prompt length", "input token count", "max_new_tokens` must be <=",
)  # fmt: skip
_UNREADABLE: Final = ("produced output that does not match", "json_validate_failed", "tool_use_failed")
_NO_KEY: Final = ("api key not valid", "api_key_invalid")
"""Where a key is bad, says Google, it is the request that is."""
_NO_SUCH_MODEL: Final = (
    "model_not_found", "not found", "does not exist", "not exist", "unknown model", "no such model", "invalid model",
    "not a valid model", "unable to access model", "deploymentnotfound", "not supported by any provider",
)  # fmt: skip
_NO_ENDPOINTS: Final = "no endpoints found"
"""OpenRouter's words for a model that nobody serves, or not with what the request has in it."""
_NO_MONEY: Final = (
    "insufficient_quota", "insufficient balance", "credit balance is too low", "billing_not_active",
    "billing_hard_limit_reached", "specified api usage limits", "exceeded_current_quota", "credit limit exceeded",
    "available credits", "any credits", "out of credits", "spending limit", "arrearage",
)  # fmt: skip
_FILTERED: Final = (
    "content_filter", "content_policy_violation", "content management policy", "content filtering policy",
    "input was flagged", "prompt was flagged", "data_inspection_failed", "inappropriate content",
    "content exists risk", "violates usage guidelines", "prohibited_content",
)  # fmt: skip
_NEVER_FITS: Final = "request too large"
"""A request that is larger than a limit a minute: no waiting makes it fit."""


def meaning(
    status: int, message: str, kind: str, url: str, retry_after_seconds: float | None, busy: Collection[int]
) -> GleitzeitError:
    """The exception for an answer with an HTTP status that is an error.

    `message` and `kind` are what `said` found in it; `busy` are the statuses of a server that is full.
    """
    text = f"{kind} {message}".lower()
    told = f"{url} says: {message}"
    if _has(text, _NO_MONEY) or (status == 402 and retry_after_seconds is None):
        return QuotaExceeded(told)
    if status in (413, 429) and _NEVER_FITS in text:
        return ContextOverflow(told)
    if status in busy or status == 429 or (status in _BUSY_IF_TOLD and retry_after_seconds is not None):
        return RateLimited(told, _wait(retry_after_seconds), told=retry_after_seconds is not None)
    if status == 503 and _has(text, _LOADING):
        return RateLimited(told, LOADING_SECONDS)
    if status in (400, 403) and _has(text, _FILTERED):
        return Refused(told)
    # With 403 and model_not_found OpenAI speaks of a model that a project may not use.
    if (status in (401, 403) and "model_not_found" not in text) or (status == 400 and _has(text, _NO_KEY)):
        return Unauthorized(told, {"status": status})
    # Context windows first: such messages name the model, too. Some servers answer them with 500.
    if status in (400, 413, 422, 500) and _has(text, _OVERFLOW):
        return ContextOverflow(told)
    if _names_no_model(status, text):
        return ModelNotFound(told)
    if _has(text, _UNREADABLE):
        return UnreadableOutput(told, {"status": status})
    if (status >= 500 and not _has(text, _FOR_GOOD)) or status in _PASSING:
        return ServerError(told, {"status": status})
    return BadRequest(told, {"status": status})


def _names_no_model(status: int, text: str) -> bool:
    if status == 404 and _NO_ENDPOINTS in text:
        return True
    if status not in (400, 403, 404) or not ("model" in text or "deployment" in text):
        return False
    return _has(text, _NO_SUCH_MODEL) or (status == 404 and "not_found_error" in text)  # Anthropic says no more


def _wait(told_seconds: float | None) -> float:
    if told_seconds is None:
        return RETRY_AFTER_SECONDS
    return told_seconds if told_seconds >= _LEAST_SECONDS else AT_ONCE_SECONDS


def _has(text: str, words: Collection[str]) -> bool:
    return any(word in text for word in words)


def said(answer: object) -> tuple[str, str]:
    """The message and the kind of an error, in whichever way a server puts it."""
    match answer:
        case [{"error": _} as only]:  # Google's way
            return said(only)
        case {"error": {"message": str(message), "metadata": {"raw": str(raw)}} as error}:  # whom OpenRouter asked
            return f"{message}: {raw}", f"{error.get('type') or ''} {error.get('code') or ''}"
        case {"error": {"message": str(message)} as error}:
            return message, f"{error.get('type') or ''} {error.get('code') or ''}"
        case {"error": str(message), "signin_url": str(url)}:  # Ollama's, for models in its cloud
            return f"{message}: sign in by `ollama signin`, or at {url}", ""
        case {"error": str(message), **rest}:
            return message, f"{rest.get('type') or ''} {rest.get('code') or ''}"
        case {"message": str(message), **rest} | {"detail": str(message), **rest}:
            return message, f"{rest.get('type') or ''} {rest.get('code') or ''}"
        case str():
            return _title_of(answer) or answer.strip(), ""
    return msgspec.json.encode(answer).decode(), ""


def _title_of(page: str) -> str:
    """Of a page in HTML, as proxies send it; empty for anything else."""
    found = _TITLE.search(page) if page.lstrip()[:1] == "<" else None
    return " ".join(found[1].split()) if found else ""


def error_in(answer: object) -> object:
    """What stands for an error in an answer with status 200, or in a piece of one; None if it is none."""
    match answer:
        case {"choices": [{"error": {} as error}, *_]}:  # OpenRouter's way
            return {"error": error}
        case {"error": error} if error:
            return answer
        case {"type": "error"} | {"object": "error"} | [{"error": _}]:
            return answer
    return None


def status_in(answer: object) -> int:
    """Which HTTP status an error in a stream would have had. Without a sign of it: the server's fault."""
    for word in said(answer)[1].split():
        if word.isdecimal() and 400 <= int(word) < 600:
            return int(word)
        if word in _STATUS_OF_TYPE:
            return _STATUS_OF_TYPE[word]
    return 500
