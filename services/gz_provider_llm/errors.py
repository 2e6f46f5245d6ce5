"""What can go wrong between a task and a model server, each by a name of its own.

    TaskError
    └── LlmError
        ├── Unreachable        LLM_UNREACHABLE        retryable  nobody listens there
        ├── Unauthorized       LLM_UNAUTHORIZED       final      no key, or one that is not accepted
        ├── QuotaExceeded      LLM_QUOTA_EXCEEDED     final      the account has nothing left to spend
        ├── ModelNotFound      LLM_MODEL_NOT_FOUND    final      data.models: what there is; data.hint: how to get it
        ├── BadRequest         LLM_BAD_REQUEST        final      the server does not take such a request
        ├── ContextOverflow    LLM_CONTEXT_OVERFLOW   final      more tokens than the model, or the account, can take
        ├── Refused            LLM_REFUSED            final      the model, or a filter, declined to answer
        ├── BadOutput          LLM_BAD_OUTPUT         final      no valid JSON, though asked for again
        ├── ServerError        LLM_SERVER_ERROR       retryable  5xx, an error in the middle of a stream, nonsense
        │   └── UnreadableOutput  the same name             its own word for an answer of the model that is no JSON
        ├── StreamCut          LLM_STREAM_CUT         retryable  the answer ended before its end
        └── IdleTimeout        LLM_IDLE_TIMEOUT       retryable  the server said nothing for too long
    ProviderBusy
    └── RateLimited            LLM_RATE_LIMITED       later      data.retryAfterSeconds; not an attempt of the task

They travel with the code of their parent; the name stands in `data.name`.
"""

from typing import Any, ClassVar

from gleitzeit.errors import GleitzeitError, ProviderBusy, TaskError


class LlmError(TaskError):
    """The message is for the author of the workflow: it says what happened, where, and what to do about it."""

    name = "LLM_ERROR"
    may_pass: ClassVar[bool] = False
    """Whether the same call can succeed later."""

    def __init__(self, message: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message, data, retryable=self.may_pass)


class Unreachable(LlmError):
    name = "LLM_UNREACHABLE"
    may_pass = True


class Unauthorized(LlmError):
    name = "LLM_UNAUTHORIZED"


class QuotaExceeded(LlmError):
    name = "LLM_QUOTA_EXCEEDED"


class ModelNotFound(LlmError):
    """`data["model"]` is the one asked for, `data["models"]` those that there are, `data["hint"]` how to get it."""

    name = "LLM_MODEL_NOT_FOUND"


class BadRequest(LlmError):
    name = "LLM_BAD_REQUEST"


class ContextOverflow(LlmError):
    name = "LLM_CONTEXT_OVERFLOW"


class Refused(LlmError):
    name = "LLM_REFUSED"


class BadOutput(LlmError):
    """`data["content"]` is the last answer, `data["problems"]` what is wrong with it."""

    name = "LLM_BAD_OUTPUT"


class ServerError(LlmError):
    name = "LLM_SERVER_ERROR"
    may_pass = True


class UnreadableOutput(ServerError):
    """The server has looked at the answer itself, found it wrong, and keeps it: llama.cpp, where JSON is asked for."""


class StreamCut(LlmError):
    name = "LLM_STREAM_CUT"
    may_pass = True


class IdleTimeout(LlmError):
    name = "LLM_IDLE_TIMEOUT"
    may_pass = True


class RateLimited(ProviderBusy):
    """Ask again after `retry_after_seconds`. `told`: they are the server's word, and no guess."""

    name = "LLM_RATE_LIMITED"

    def __init__(self, message: str, retry_after_seconds: float, *, told: bool = False) -> None:
        super().__init__(message, {"retryAfterSeconds": retry_after_seconds})
        self.retry_after_seconds = retry_after_seconds
        self.told = told


def costs_nothing(error: GleitzeitError) -> bool:
    """Whether it is a server's refusal of a request, or one that never arrived: nothing was generated."""
    return isinstance(error, RateLimited) or (
        isinstance(error, LlmError) and not isinstance(error, (ServerError, StreamCut, IdleTimeout))
    )
