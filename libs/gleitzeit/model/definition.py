"""A checked definition in its normal form: what `workflow.submit` stores and the engine runs.

Every spelling of the document language has been reduced to one, every dependency is an id, every duration is seconds.
`gleitzeit.spec.check` is the only maker.
"""

import enum
from typing import Any, Literal

from msgspec import Raw, Struct
from msgspec.structs import replace

ErrorPolicy = Literal["fail_fast", "continue", "isolate"]
OnLost = Literal["retry", "fail", "ask", ""]
Backoff = Literal["fixed", "linear", "exponential"]


class Priority(enum.IntEnum):
    """Higher is more urgent, also where a document writes a number."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """`max_attempts` counts the first one too: 1 means never again."""

    max_attempts: int = 1
    backoff: Backoff = "exponential"
    base_delay_seconds: float = 1.0
    max_delay_seconds: float = 300.0
    multiplier: float = 2.0
    jitter: bool = True


class Budget(Struct, frozen=True, omit_defaults=True):
    """What may be spent before a call is not made any more; None is no limit. See `engine.meter` for what counts."""

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None


class BreakerPolicy(Struct, frozen=True, omit_defaults=True):
    """When a provider's method that fails again and again is left alone, and how it is tried again: after
    `reset_timeout_seconds`, with at most `half_open_max_calls` at once, until `success_threshold` succeeded."""

    failure_threshold: int = 10
    success_threshold: int = 2
    reset_timeout_seconds: float = 5.0
    half_open_max_calls: int = 1


OnConflict = Literal["queue", "cancel_running", "fail"]


class Concurrency(Struct, frozen=True, omit_defaults=True):
    """How many of one key may be under way at once. `key` is a text that may have references."""

    key: str
    limit: int = 1
    on_conflict: OnConflict = "queue"
    """Of one more: it waits, the oldest makes room for it, or it fails."""


class CachePolicy(Struct, frozen=True, omit_defaults=True):
    """A result that is at most `ttl_seconds` old stands for a call. `key`, a text that may have references, is what
    results are known by in place of the resolved params."""

    ttl_seconds: float
    key: str = ""


class Alternative(Struct, frozen=True, omit_defaults=True):
    """What a task calls in place of what failed for good. Whole: nothing of the task's own call is left to add."""

    label: str
    """For people: what sets it apart, as `llama3.2` or `echo/echo at backup`."""
    method: str
    params: Raw = Raw(b"{}")
    references: bool = False
    bindings: dict[str, str] = {}
    untrusted: bool = False
    provider: str = ""


class ForEach(Struct, frozen=True, omit_defaults=True):
    """One task for each item of a list. `over` is a JSON value that may hold references (`references` says so): the
    list, a text that is a reference to one, or of a `matrix` the map `{axes, include, exclude}`."""

    over: Raw
    references: bool = False
    matrix: bool = False
    max_parallel: int | None = None
    max_items: int = 10_000
    on_item_error: Literal["fail", "skip", "collect"] = "fail"
    when_each: bool = False
    """The task's `when` is one of each item, not of the whole."""
    by: str = ""
    """The member of each item by which the result is a map, as that of a batch of files by `path`."""


class Case(Struct, frozen=True, omit_defaults=True):
    """The tasks that run if the switch has this `value`, or if this condition holds."""

    run: tuple[str, ...] = ()
    value: str = ""
    when: str = ""


class Switch(Struct, frozen=True, omit_defaults=True):
    """Of the tasks that its cases name, those of the first case that fits run, the others are skipped. They depend on
    the task that has the switch. `value` is a text, usually one reference."""

    value: str = ""
    cases: tuple[Case, ...] = ()
    default: tuple[str, ...] = ()


class Until(Struct, frozen=True, omit_defaults=True):
    """The task is repeated, at most `max` rounds in all, until the condition holds for its result."""

    condition: str
    max: int = 100
    every_seconds: float = 0.0
    on_exhausted: Literal["fail", "continue"] = "fail"


class TaskDefinition(Struct, frozen=True, omit_defaults=True, gc=False):
    """`params` is the JSON object as the author wrote it, references included; `references` says whether it has any.

    `bindings` lists, for each parameter that is source code (`x-code`), the references taken out of it: placeholder
    name -> reference text with its braces. The source in `params` holds the placeholders.
    """

    id: str
    method: str
    params: Raw = Raw(b"{}")
    name: str = ""
    description: str = ""
    dependencies: tuple[str, ...] = ()
    references: bool = False
    bindings: dict[str, str] = {}
    untrusted: bool = False
    """The whole of a code parameter comes from a reference: what runs was not written by the author."""
    priority: Priority = Priority.NORMAL
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    """For one attempt."""
    queue_timeout_seconds: float | None = None
    """From ready to started."""
    on_error: Literal["fail", "skip"] = "fail"
    """`skip`: the failure does not fail the workflow, and dependents run as if the result were null."""
    on_lost: OnLost = ""
    """What follows when a provider died and may have run the call; "" asks the method's schema (`x-idempotent`)."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, object] = {}
    provider: str = ""
    """Only providers of this name may have the task; "" is any."""
    fallback: tuple[Alternative, ...] = ()
    """Tried in order, each by the whole retry policy."""
    budget: Budget | None = None
    cache: CachePolicy | None = None
    concurrency: Concurrency | None = None
    workflow: "Definition | None" = None
    """What a task of `workflow/run` runs: part of the document that it stands in, whatever becomes of its source."""
    when: str = ""
    """A condition in the normal form of `spec.expressions`: if it does not hold the task is skipped."""
    for_each: ForEach | None = None
    switch: Switch | None = None
    until: Until | None = None
    trigger: Literal["success", "always", "failure"] = "success"
    """`success`: once its dependencies have completed. `always`: once they have ended, in whatever way, also in a
    workflow that is being cancelled. `failure`: then too, but only if one of them failed."""
    late: bool = False
    """Waits besides until all tasks that are not late have ended. Only with another trigger than `success`, and for
    what depends on such a task."""
    undo: "TaskDefinition | None" = None
    """What is called when the workflow fails or is cancelled after this task has completed."""

    @property
    def protocol(self) -> str:
        """`llm/chat` belongs to `llm/v1`."""
        return self.method.split("/", 1)[0] + "/v1"


class Definition(Struct, frozen=True, omit_defaults=True, gc=False):
    """`error_policy`: `isolate` skips what depends on a failed task and lets the rest go on (the default), `fail_fast`
    also cancels the rest, `continue` runs dependents too, with null for the missing result."""

    name: str
    tasks: tuple[TaskDefinition, ...]
    description: str = ""
    version: str = ""
    error_policy: ErrorPolicy = "isolate"
    timeout_seconds: float | None = None
    max_parallel: int | None = None
    priority: Priority = Priority.NORMAL
    parameters: Raw = Raw(b"{}")
    """What `${parameters.x}` and `${inputs.x}` read where the submit gives no value."""
    inputs: Raw = Raw(b"{}")
    """What a submit may bring: the JSON Schema of an object, {} if nothing is declared."""
    config: Raw = Raw(b"{}")
    env: dict[str, object] = {}
    """The environment variables that the document uses, as they were where it was submitted."""
    unresolved: Literal["fail", "keep"] = "fail"
    """`keep`: a reference that stands for nothing stays the text that it is."""
    outputs: dict[str, Any] = {}
    """name -> a text with references, usually one and nothing else"""
    wait_for_completion: bool = False
    """A hint to clients: `gz submit` waits."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, object] = {}
    budget: Budget | None = None
    """Of all its tasks together."""
    concurrency: Concurrency | None = None
    breakers: dict[str, BreakerPolicy] = {}
    """For calls of a method, of a provider's name, or of a protocol (`llm`), in place of the usual."""


def with_alternative(definition: TaskDefinition, number: int) -> TaskDefinition:
    """The task with its `number`-th alternative (from 1) for its call; 0 is the task as it is."""
    if not number:
        return definition
    other = definition.fallback[number - 1]
    return replace(
        definition,
        method=other.method,
        params=other.params,
        references=other.references,
        bindings=other.bindings,
        untrusted=other.untrusted,
        provider=other.provider,
    )
