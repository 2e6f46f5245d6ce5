"""Where a workflow stands, told by its events: what `gz run` and `gz watch` draw."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import assert_never

from gleitzeit.engine.state.meter import Meter
from gleitzeit.model import events
from gleitzeit.model.definition import TaskDefinition
from gleitzeit.model.events import TASK_FINAL, WORKFLOW_FINAL, AnyEvent, Failure, TaskStatus, WorkflowStatus
from gz_cli.drawing.layout import Node
from gz_cli.terminal.durations import counted, duration
from gz_cli.terminal.ink import first_line


class ItemsProgress:
    """The items of a `for_each`, counted: ten thousand of them are one line."""

    def __init__(self, count: int, completed: int = 0) -> None:
        self.total = count
        self.completed = completed
        self.ended = completed
        self.failed = 0
        self.running: set[str] = set()

    def apply(self, event: AnyEvent, item: str) -> None:
        match event:
            case events.TaskStarted() | events.TaskWaiting():
                self.running.add(item)
            case events.TaskCompleted() | events.TaskCached():
                self._end(item)
                self.completed += 1
            case events.TaskSkipped() | events.TaskCancelled():
                self._end(item)
            case events.TaskFailed():
                self._end(item)
                self.failed += 1
            case _:
                self.running.discard(item)

    def _end(self, item: str) -> None:
        self.running.discard(item)
        self.ended += 1

    def words(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.ended:,}/{self.total:,}{failed}"


class TaskProgress:
    """One task. Times are UTC milliseconds; `note` is the last thing it said of itself."""

    def __init__(self, task: TaskDefinition) -> None:
        self.id = task.id
        self.name = task.name or task.id
        self.method = task.method
        self.dependencies = task.dependencies
        self.reset()

    def reset(self) -> None:
        """As before its first attempt."""
        self.status: TaskStatus = "pending"
        self.attempt = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.note = ""
        self.error: Failure | None = None
        self.items: ItemsProgress | None = None
        self.kept = 0
        """Items that completed before a retry by hand, and are not tried again."""
        self.rounds = 0

    def seconds(self, now_ms: int) -> float | None:
        """How long the current or last attempt took so far; None before the first."""
        if self.started_at is None:
            return None
        return ((self.ended_at or now_ms) - self.started_at) / 1000


class WorkflowProgress:
    """Feed it the events of one workflow from the first on. Events of tasks that it does not know are left out."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.name = workflow_id
        self.status: WorkflowStatus = "pending"
        self.tasks: dict[str, TaskProgress] = {}
        self.counts: Counter[TaskStatus] = Counter()
        self.submitted_at: int | None = None
        self.ended_at: int | None = None
        self.error: Failure | None = None
        self.reason = ""
        self.closing = False
        """It is to end, and what runs always runs before."""
        self.meter = Meter()
        """What its calls cost, as far as they say so."""
        self._definitions: dict[str, TaskDefinition] = {}
        self._active: dict[str, None] = {}

    @property
    def final(self) -> bool:
        return self.status in WORKFLOW_FINAL

    @property
    def ended(self) -> int:
        """How many tasks have reached a final state."""
        return sum(self.counts[status] for status in TASK_FINAL)

    def active(self) -> list[TaskProgress]:
        """The tasks that run, wait or back off now; the one that started first comes first."""
        return [self.tasks[name] for name in self._active]

    def seconds(self, now_ms: int) -> float:
        """How long the workflow took so far."""
        return 0.0 if self.submitted_at is None else ((self.ended_at or now_ms) - self.submitted_at) / 1000

    def cost(self) -> str:
        """`1,234 tokens`, of the calls that have ended; "" where none says that it has cost some."""
        tokens = self.meter.total.tokens
        return counted(tokens, "token") if tokens else ""

    def nodes(self) -> Sequence[Node]:
        return [Node(task.id, task.method, task.dependencies) for task in self.tasks.values()]

    def note(self, task_id: str, text: str) -> None:
        """What a running task says of itself."""
        task = self.tasks.get(task_id)
        if task is not None and task.status not in TASK_FINAL:
            task.note = text

    def apply(self, event: AnyEvent) -> None:
        self.meter.note(event)
        match event:
            case events.WorkflowSubmitted():
                self._submitted(event)
            case (
                events.WorkflowPaused()
                | events.WorkflowResumed()
                | events.WorkflowCompleted()
                | events.WorkflowFailed()
                | events.WorkflowCancelled()
                | events.WorkflowCancelling()
                | events.WorkflowRetried()
            ):
                self._workflow_event(event)
            case events.SignalReceived():
                pass
            case events.UndoAdded():
                self._undo(event)
            case _:
                task = self.tasks.get(event.task)
                if task is not None:
                    self._task_event(task, event)
                elif (parent := self.tasks.get(event.task.rpartition("[")[0])) is not None and parent.items is not None:
                    parent.items.apply(event, event.task)
                    parent.note = parent.items.words()

    def _undo(self, event: events.UndoAdded) -> None:
        """The undo of a task is a task of its own; those of items are not shown one by one."""
        name, definition = f"{event.task}[undo]", self._definitions.get(event.task)
        if definition is None or definition.undo is None:
            return
        if name not in self.tasks:
            self.tasks[name] = TaskProgress(definition.undo)
            self.tasks[name].id = name
            self.counts["pending"] += 1
        self._move(self.tasks[name], "ready")

    def _submitted(self, event: events.WorkflowSubmitted) -> None:
        self.name = event.definition.name
        self.submitted_at = event.at
        self.tasks = {task.id: TaskProgress(task) for task in event.definition.tasks}
        self._definitions = {task.id: task for task in event.definition.tasks if task.undo is not None}
        self.counts = Counter({"pending": len(self.tasks)})

    def _workflow_event(
        self,
        event: events.WorkflowPaused
        | events.WorkflowResumed
        | events.WorkflowCompleted
        | events.WorkflowFailed
        | events.WorkflowCancelled
        | events.WorkflowCancelling
        | events.WorkflowRetried,
    ) -> None:
        match event:
            case events.WorkflowPaused():
                self.status = "paused"
            case events.WorkflowResumed():
                self.status = "running"
            case events.WorkflowCancelling():
                self.status, self.closing, self.reason = "running", True, event.reason
            case events.WorkflowRetried():
                self.closing = False
                self.status, self.ended_at, self.error = "running", None, None
                self._again(event.tasks)
            case events.WorkflowCompleted():
                self.status, self.ended_at = "completed", event.at
            case events.WorkflowFailed():
                self.status, self.ended_at, self.error = "failed", event.at, event.error
            case events.WorkflowCancelled():
                self.status, self.ended_at, self.reason = "cancelled", event.at, event.reason

    def _again(self, names: Iterable[str]) -> None:
        again = set(names)
        for name in again:
            task = self.tasks.get(name)
            if task is not None:
                kept = task.items.completed if task.items is not None and again.isdisjoint(task.dependencies) else 0
                self._move(task, "pending")
                task.reset()
                task.kept = kept

    def _task_event(
        self,
        task: TaskProgress,
        event: events.TaskStarted
        | events.TaskWaiting
        | events.TaskCompleted
        | events.TaskCached
        | events.TasksAdded
        | events.TaskRepeated
        | events.TaskFellBack
        | events.TaskTurnedBack
        | events.TaskRetrying
        | events.TaskReleased
        | events.TaskFailed
        | events.TaskSkipped
        | events.TaskCancelled
        | events.CallRefused
        | events.CallLost,
    ) -> None:
        match event:
            case events.TaskStarted() | events.TaskWaiting():
                self._start(task, event)
            case events.TasksAdded():
                self._start(task, event)
                task.items = ItemsProgress(event.count, min(task.kept, event.count))
                task.note = task.items.words()
            case events.TaskRepeated():
                self._move(task, "retrying")
                task.rounds += 1
                task.note = f"round {task.rounds} is over"
            case events.TaskRetrying():
                self._move(task, "retrying")
                task.error = event.error
            case events.TaskReleased():
                self._move(task, "ready")
            case events.CallRefused():
                self._move(task, "retrying")
                task.note = event.reason
            case events.CallLost():
                self._move(task, "ready" if event.approval is None else "waiting")
                task.note = event.reason if event.approval is None else asks(self.workflow_id, task.id, event.approval)
            case events.TaskCompleted():
                self._end(task, "completed", event.at)
            case events.TaskCached():
                task.attempt, task.started_at = event.attempt, event.at
                self._end(task, "completed", event.at, note="cached")
                if self.status == "pending":
                    self.status = "running"
            case events.TaskFellBack():
                self._move(task, "ready")
                task.note = f"falls back to {event.label}"
            case events.TaskTurnedBack():
                self._move(task, "retrying")
                task.note = f"turns back to {event.label}"
            case events.TaskFailed():
                self._end(task, "failed", event.at, error=event.error)
            case events.TaskSkipped():
                self._end(task, "skipped", event.at, note=event.reason)
            case events.TaskCancelled():
                self._end(task, "cancelled", event.at, note=event.reason)
            case _:
                assert_never(event)

    def _start(self, task: TaskProgress, event: events.TaskStarted | events.TaskWaiting | events.TasksAdded) -> None:
        self._move(task, "running" if isinstance(event, events.TaskStarted) else "waiting")
        if self.status == "pending":
            self.status = "running"
        task.attempt, task.started_at, task.ended_at, task.note = event.attempt, event.at, None, ""
        if isinstance(event, events.TaskWaiting):
            task.note = waits_for(event, self.workflow_id)

    def _end(
        self, task: TaskProgress, status: TaskStatus, at: int, *, note: str = "", error: Failure | None = None
    ) -> None:
        self._move(task, status)
        words = task.items.words() if task.items is not None else ""
        task.ended_at, task.note, task.error = at, note or words, error

    def _move(self, task: TaskProgress, status: TaskStatus) -> None:
        self.counts[task.status] -= 1
        self.counts[status] += 1
        task.status = status
        self._active.pop(task.id, None)
        if status in ("running", "waiting", "retrying"):
            self._active[task.id] = None


def asks(workflow_id: str, task_id: str, approval: events.Approval) -> str:
    return f"asks: {first_line(approval.message)} (gz approve {workflow_id} {shlex.quote(task_id)})"


def waits_for(event: events.TaskWaiting, workflow_id: str) -> str:
    """What a task does that has begun to wait, and what its reader can do about it; "" if it does not really wait."""
    if event.approval is not None:
        return asks(workflow_id, event.task, event.approval)
    if event.child:
        return f"runs the workflow {event.child}"
    if event.signals:
        return "waits for the signal " + (" and " if event.all else ", ").join(event.signals)
    if event.until is None:
        return "waits"
    return f"waits {duration((event.until - event.at) / 1000)}" if event.until > event.at else ""
