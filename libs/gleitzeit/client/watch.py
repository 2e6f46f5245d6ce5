"""What a watcher of a workflow sees: its events, and what its tasks say while they run."""

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit.model.definition import Definition
from gleitzeit.model.events import AnyEvent, WorkflowSubmitted

QUEUE_ITEMS = 50_000
"""What may wait for a slow consumer; beyond it the rest is dropped here and asked for again from the coordinator."""


class WatchEvent(Struct, frozen=True):
    """A fact, numbered from 1 within its workflow.

    What is too large for a message is left out of it: of a result stays `{"$omitted_bytes": n}` (`Client.task` has the
    whole), and the definition of a WorkflowSubmitted has no tasks (`Client.get` has them).
    """

    workflow_id: str
    seq: int
    event: AnyEvent


class StreamItem(Struct, frozen=True):
    """A piece of the text that a running task writes, which begins with character `offset` of it. A new attempt voids
    what came before. Where `gap` is true something is missing: the text goes on at `offset`."""

    workflow_id: str
    task_id: str
    attempt: int
    delta: str
    seq: int = 0
    offset: int = 0
    gap: bool = False


class ProgressItem(Struct, frozen=True):
    """How far a running task is, in a unit of its own; no `total`: nobody knows."""

    workflow_id: str
    task_id: str
    attempt: int
    progress: float
    total: float | None = None
    message: str = ""


class LogItem(Struct, frozen=True):
    """What a running task says beside its result: what a script prints, what a provider logs."""

    workflow_id: str
    task_id: str
    attempt: int
    level: str = "info"
    data: Any = None
    logger: str = ""


class ConnectionItem(Struct, frozen=True):
    """The connection was lost (`connected` False), or is there again: nothing of the events in between is missing."""

    connected: bool
    message: str = ""


WatchItem = WatchEvent | StreamItem | ProgressItem | LogItem | ConnectionItem


class Newer(Struct, frozen=True):
    """An event of a kind that a newer coordinator knows and we do not: only its number counts."""

    workflow_id: str
    seq: int


class Resync(Struct, frozen=True):
    """The watcher lagged: what follows `seq` must be asked for again."""

    workflow_id: str
    seq: int = 0


Received = WatchEvent | StreamItem | ProgressItem | LogItem | Newer | Resync


class TextPositions:
    """How much of each task's text has come, so that nothing comes twice when a watcher asks again."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[int, int]] = {}
        """Attempt, and characters of its text, by task id."""

    def known(self) -> dict[str, dict[str, int]]:
        """`streams` of `workflow.watch`."""
        return {task: {"attempt": attempt, "offset": end} for task, (attempt, end) in self._ends.items()}

    def forget(self, task_id: str) -> None:
        """Its text has ended."""
        self._ends.pop(task_id, None)

    def take(self, item: StreamItem) -> StreamItem | None:
        """What is new in it; None if nothing is."""
        attempt, end = self._ends.get(item.task_id, (0, 0))
        if item.attempt < attempt:
            return None
        begin, upto = item.offset, item.offset + len(item.delta)
        if item.attempt == attempt and begin < end:
            if upto <= end:
                return None
            item = replace(item, delta=item.delta[end - begin :], offset=end)
        self._ends[item.task_id] = item.attempt, upto
        return item


_TYPES: dict[str, type[WatchEvent | StreamItem | ProgressItem | LogItem | Resync]] = {
    "notifications/event": WatchEvent,
    "notifications/stream": StreamItem,
    "notifications/progress": ProgressItem,
    "notifications/message": LogItem,
    "notifications/resync": Resync,
}


def decode(method: str, params: Raw | None) -> Received | None:
    """A notification from the coordinator; None for those that do not concern a watcher, or make no sense."""
    cls = _TYPES.get(method)
    if cls is None or params is None:
        return None
    try:
        return msgspec.json.decode(params, type=cls)
    except msgspec.DecodeError:
        return _incomplete(params) if cls is WatchEvent else None


class _Omitted(Struct, frozen=True):
    """Of a WorkflowSubmitted whose definition was too large."""

    type: Literal["WorkflowSubmitted"]
    at: int


class _Beginning(Struct, frozen=True):
    event: _Omitted


def _incomplete(params: Raw) -> WatchEvent | Newer | None:
    """An event without its largest part, or of a kind that we do not know."""
    try:
        newer = msgspec.json.decode(params, type=Newer)
    except msgspec.DecodeError:
        return None
    try:
        event = msgspec.json.decode(params, type=_Beginning).event
    except msgspec.DecodeError:
        return newer
    begun = WorkflowSubmitted(at=event.at, workflow_id=newer.workflow_id, definition=Definition(name="", tasks=()))
    return WatchEvent(newer.workflow_id, newer.seq, begun)
