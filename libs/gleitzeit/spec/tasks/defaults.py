"""`defaults`: what tasks say that say nothing themselves, and what tasks of one method say."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from gleitzeit.model.definition import Budget, OnLost, Priority, RetryPolicy
from gleitzeit.schemas import Catalogue
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.problems import Path
from gleitzeit.spec.tasks.settings import read_priority, read_retry
from gleitzeit.spec.tasks.spending import CacheDraft, read_budget, read_cache
from gleitzeit.spec.tasks.task_draft import TaskDraft

_KEYS: Final = frozenset(
    {
        "timeout", "retry", "retry_config", "max_retries", "priority", "provider", "on_error", "queue_timeout",
        "on_lost", "cache", "budget", "tags", "params",
    }
)  # fmt: skip
_MODEL_SERVERS: Final = frozenset({"ollama", "openai", "anthropic", "llamacpp"})
"""Providers of this name serve llm/v1 alone: as the default of all tasks they mean those that ask a model."""
_ON_ERROR: Final[Mapping[str, Literal["fail", "skip"]]] = {"fail": "fail", "skip": "skip"}
_ON_LOST: Final[Mapping[str, OnLost]] = {"retry": "retry", "fail": "fail", "ask": "ask"}


class Default(Struct, frozen=True):
    """Of all tasks, or of those of one method. None, or empty, where it is silent."""

    timeout_seconds: float | None = None
    queue_timeout_seconds: float | None = None
    retry: RetryPolicy | None = None
    priority: Priority | None = None
    provider: str = ""
    on_error: Literal["fail", "skip"] | None = None
    on_lost: OnLost | None = None
    cache: CacheDraft | None = None
    budget: Budget | None = None
    tags: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    params_path: Path = ()


class Defaults:
    """`of_methods` goes before `of_all`, and the task before both."""

    def __init__(self, of_all: Default | None = None, of_methods: Mapping[str, Default] | None = None) -> None:
        self._of_all = of_all
        self._of_methods = of_methods or {}

    def _for(self, method: str) -> list[Default]:
        found = (self._of_methods.get(method), self._of_all)
        return [one for one in found if one is not None]

    def _provider(self, default: Default, method: str) -> str:
        """Of a model server a task that asks no model would wait without end; said of its own method, it is meant."""
        elsewhere = default is self._of_all and default.provider in _MODEL_SERVERS and not method.startswith("llm/")
        return "" if elsewhere else default.provider

    def add_params(self, draft: TaskDraft) -> None:
        """Those that the method knows."""
        for default in self._for(draft.method):
            known = draft.schema.param_names if draft.schema is not None else ()
            added = {
                name: value for name, value in default.params.items() if name in known and name not in draft.params
            }
            draft.params = {**draft.params, **added}
            draft.param_paths |= {name: (*default.params_path, name) for name in added}

    def complete(self, draft: TaskDraft, fields: Fields) -> None:
        """What the task leaves open."""
        for default in self._for(draft.method):
            draft.timeout_seconds = draft.timeout_seconds or default.timeout_seconds
            draft.queue_timeout_seconds = draft.queue_timeout_seconds or default.queue_timeout_seconds
            draft.retry = draft.retry or default.retry
            draft.priority = draft.priority or default.priority
            draft.provider = draft.provider or self._provider(default, draft.method)
            draft.budget = draft.budget or default.budget
            if fields.raw.get("cache") is None and draft.flow.until is None:
                draft.cache = draft.cache or default.cache
            draft.tags = tuple(dict.fromkeys([*draft.tags, *default.tags]))
        if fields.raw.get("on_error") is None:
            draft.on_error = next((d.on_error for d in self._for(draft.method) if d.on_error), draft.on_error)
        if fields.raw.get("on_lost") is None:
            draft.on_lost = next((d.on_lost for d in self._for(draft.method) if d.on_lost), draft.on_lost)


def read_defaults(fields: Fields, catalogue: Catalogue) -> Defaults:
    raw = fields.mapping("defaults")
    if not raw:
        return Defaults()
    within = Fields(raw, fields.at("defaults"), fields.findings)
    within.check_keys(_KEYS | {"methods"}, "defaults")
    methods = within.mapping("methods")
    return Defaults(_read(within), dict(_of_methods(Fields(methods, within.at("methods"), fields.findings), catalogue)))


def _of_methods(fields: Fields, catalogue: Catalogue) -> list[tuple[str, Default]]:
    found = []
    for name in fields.raw:
        schema = catalogue.get(name)
        if schema is None and name.split("/", 1)[0] + "/v1" in catalogue.protocols():
            suggestion = fields.findings.near(name, catalogue.names())
            fields.findings.error(fields.at(name), f"there is no method '{name}'", suggestion, at_key=True)
        within = Fields(fields.mapping(name), fields.at(name), fields.findings)
        within.check_keys(_KEYS, "the defaults of a method")
        default = _read(within)
        for param in default.params if schema is not None else ():
            if schema is not None and schema.param_names and param not in schema.param_names:
                suggestion = fields.findings.near(param, schema.param_names)
                path = (*default.params_path, param)
                fields.findings.error(path, f"{schema.name} has no parameter '{param}'", suggestion, at_key=True)
        found.append((schema.name if schema is not None else name, default))
    return found


def _read(fields: Fields) -> Default:
    return Default(
        timeout_seconds=fields.duration("timeout"),
        queue_timeout_seconds=fields.duration("queue_timeout"),
        retry=read_retry(fields),
        priority=read_priority(fields),
        provider=fields.text("provider"),
        on_error=fields.choice("on_error", _ON_ERROR),
        on_lost=fields.choice("on_lost", _ON_LOST),
        cache=read_cache(fields),
        budget=read_budget(fields),
        tags=tuple(text for _, text in fields.texts("tags")),
        params=fields.mapping("params"),
        params_path=fields.at("params"),
    )
