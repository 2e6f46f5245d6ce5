"""What earlier versions called the states of a workflow, and its events: accepted where somebody asks for some, never
sent."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, get_args

from gleitzeit.model.events import AnyEvent

STATUSES: Final = {
    "submitted": "pending",
    "queued": "pending",
    "validated": "pending",
    "routed": "pending",
    "executing": "running",
    "retry_pending": "running",
    "canceled": "cancelled",
}

EVENT_TYPES: Final = tuple(kind.__name__ for kind in get_args(AnyEvent))

EVENTS: Final = {
    "task:submitted": ("WorkflowSubmitted", "TasksAdded", "UndoAdded"),
    "task:queued": ("WorkflowSubmitted", "TaskReleased", "TasksAdded"),
    "task:available": ("WorkflowSubmitted", "TaskReleased", "TasksAdded"),
    "task:claimed": ("TaskStarted",),
    "task:started": ("TaskStarted", "TaskWaiting"),
    "task:completed": ("TaskCompleted", "TaskCached"),
    "task:failed": ("TaskFailed",),
    "task:cancelled": ("TaskCancelled",),
    "task:retry_scheduled": ("TaskRetrying", "TaskFellBack", "TaskTurnedBack"),
    "task:retry_executed": ("TaskReleased",),
    "task:timeout": ("TaskFailed", "TaskRetrying"),
    "workflow:submitted": ("WorkflowSubmitted",),
    "workflow:validated": ("WorkflowSubmitted",),
    "workflow:started": ("WorkflowSubmitted",),
    "workflow:completed": ("WorkflowCompleted",),
    "workflow:failed": ("WorkflowFailed",),
    "workflow:cancelled": ("WorkflowCancelled",),
    "workflow:paused": ("WorkflowPaused",),
    "workflow:resumed": ("WorkflowResumed",),
}
"""Of the events of a workflow. What there is no event of any more (a task that may start) is where it follows from."""

ELSEWHERE: Final = {
    "provider": "provider.list (`gz providers`)",
    "circuit": "provider.list (`gz providers`)",
    "worker": "provider.list (`gz providers`)",
    "pool": "provider.list (`gz providers`)",
    "queue": "system.status (`gz status`)",
    "backpressure": "system.status (`gz status`)",
    "health": "system.status (`gz status`)",
    "system": "system.status (`gz status`)",
}
"""The other families of earlier events, which are of no workflow, and what tells now what they told."""


def event_types(names: Iterable[str]) -> frozenset[str]:
    """The types of events that are meant: by our names, by earlier ones, by either with `*`. Raises ValueError."""
    return frozenset(kind for name in names for kind in _types_of(name))


def _types_of(name: str) -> tuple[str, ...]:
    known: dict[str, tuple[str, ...]] = {**EVENTS, **{kind: (kind,) for kind in EVENT_TYPES}}
    wanted = name.lower().replace("canceled", "cancelled") if ":" in name else name
    if wanted in known:
        return known[wanted]
    family = wanted.partition(":")[0]
    if family in ELSEWHERE and ":" in wanted:
        raise ValueError(f"{name!r} is no event of a workflow any more: {ELSEWHERE[family]} tells what it told")
    found = tuple(kind for known_name, kinds in known.items() if fnmatchcase(known_name, wanted) for kind in kinds)
    if not found:
        import difflib  # only after a mistake: 5 ms that no start-up should pay

        meant = difflib.get_close_matches(wanted, list(known), 1)
        raise ValueError(
            f"there is no event {name!r}"
            + (f"; did you mean {meant[0]!r}?" if meant else f"; there are {', '.join(EVENT_TYPES)}")
        )
    return found
