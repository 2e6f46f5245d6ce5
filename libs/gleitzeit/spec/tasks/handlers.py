"""`config.handlers.<name>`: how calls of one protocol, method or provider are made."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.tasks.task_draft import TaskDraft

_KEYS: Final = frozenset({"base_url", "timeout", "circuit_breaker"})
_BREAKER_KEYS: Final = frozenset({"failure_threshold", "success_threshold", "reset_timeout", "half_open_max_calls"})
_MOST: Final = 1_000_000


class CallSettings(Struct, frozen=True):
    timeout_seconds: float | None
    breaker: BreakerPolicy | None


def read_handlers(config: Fields) -> dict[str, CallSettings]:
    """By name: a protocol (`llm`, `llm/v1`), a method (`llm/chat`) or a provider."""
    handlers = Fields(config.mapping("handlers"), config.at("handlers"), config.findings)
    found = {}
    for name in handlers.raw:
        fields = Fields(handlers.mapping(name), handlers.at(name), config.findings)
        fields.check_keys(_KEYS, "a handler")
        if fields.raw.get("base_url") is not None:
            message = "'base_url' has no effect: a provider is told its address when it starts (--url)"
            config.findings.warning(fields.at("base_url"), message, at_key=True)
        found[name.removesuffix("/v1")] = CallSettings(fields.duration("timeout"), _breaker(fields))
    return found


def _breaker(handler: Fields) -> BreakerPolicy | None:
    raw = handler.mapping("circuit_breaker")
    if not raw:
        return None
    fields = Fields(raw, handler.at("circuit_breaker"), handler.findings)
    fields.check_keys(_BREAKER_KEYS, "a circuit breaker")
    wholes = {key: fields.whole(key, 1, _MOST) for key in sorted(_BREAKER_KEYS - {"reset_timeout"})}
    wishes = {**wholes, "reset_timeout_seconds": fields.duration("reset_timeout")}
    return replace(BreakerPolicy(), **{name: value for name, value in wishes.items() if value is not None})


def timeout_of(handlers: Mapping[str, CallSettings], draft: TaskDraft) -> float | None:
    """Of the task, or of the handler for its calls."""
    if draft.timeout_seconds is not None or not handlers:
        return draft.timeout_seconds
    names = (draft.method, draft.provider, draft.method.partition("/")[0])
    return next((handlers[name].timeout_seconds for name in names if name in handlers), None)
