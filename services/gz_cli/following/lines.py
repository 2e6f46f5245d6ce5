"""The same story as the tree, as plain lines that stay: for logs, pipes and terminals without a cursor."""

from gleitzeit.model import events
from gleitzeit.model.events import AnyEvent
from gleitzeit.spec.durations import how_soon
from gz_cli.following.progress import WorkflowProgress, asks, waits_for
from gz_cli.following.tree import MARKS
from gz_cli.terminal.durations import clock, counted, duration
from gz_cli.terminal.ink import Span, first_line

Line = list[Span]

ITEM_FAILURES = 20
"""So many items of a task are named when they fail."""
MANY = 100
"""Above so many tasks only every twentieth part of the completions is a line."""
TOLD_MS = 1000
"""A wait from here on is told; one for a place at a provider is shorter."""
_GOES_WRONG = events.TaskFailed | events.TaskRetrying | events.TaskFellBack | events.TaskTurnedBack | events.CallLost


def submitted(progress: WorkflowProgress, at_ms: int) -> Line:
    return _line(at_ms, "running", f"{progress.name}  {progress.workflow_id}  {counted(len(progress.tasks))}")


def event_line(progress: WorkflowProgress, event: AnyEvent) -> Line | None:
    """The line for an event that `progress` has already applied; None for what nobody waits to read."""
    if _is_one_of_many(progress, event):
        return None
    match event:
        case events.WorkflowSubmitted():
            return submitted(progress, event.at)
        case events.TaskCompleted() | events.TaskCached():
            return _completed(progress, event)
        case events.TaskFellBack():
            text = f"{_name(progress, event.task)} falls back to {event.label}: {first_line(event.error.message)}"
            return _line(event.at, "retrying", text)
        case events.TaskTurnedBack():
            to = f"{event.label} {how_soon((event.until - event.at) / 1000)}"
            text = f"{_name(progress, event.task)} turns back to {to}: {first_line(event.error.message)}"
            return _line(event.at, "retrying", text)
        case events.TaskFailed():
            return _line(event.at, "failed", f"{_name(progress, event.task)} failed: {first_line(event.error.message)}")
        case events.TaskRetrying():
            pause = how_soon((event.until - event.at) / 1000)
            why = first_line(event.error.message)
            text = f"{_name(progress, event.task)} attempt {event.attempt} failed, next {pause}: {why}"
            return _line(event.at, "retrying", text)
        case events.TaskWaiting() | events.TaskStarted():
            return _started(progress, event)
        case events.TasksAdded():
            return _line(event.at, "waiting", f"{_name(progress, event.task)} has {event.count:,} items")
        case events.TaskRepeated():
            return _line(event.at, "retrying", f"{_name(progress, event.task)} goes into another round")
        case events.UndoAdded():
            return _line(event.at, "running", f"{_name(progress, event.task)} is being undone")
        case events.TaskSkipped() if len(progress.tasks) <= MANY and event.task in progress.tasks:
            reason = f": {event.reason}" if event.reason else ""
            return _line(event.at, "skipped", f"{_name(progress, event.task)} skipped{reason}")
        case events.CallRefused() if event.until - event.at >= TOLD_MS and event.task in progress.tasks:
            if len(progress.tasks) > MANY:
                return None
            pause = how_soon((event.until - event.at) / 1000)
            text = f"{_name(progress, event.task)} has to wait, asked again {pause}: {first_line(event.reason)}"
            return _line(event.at, "retrying", text)
        case events.CallLost() if event.approval is not None:
            question = asks(progress.workflow_id, event.task, event.approval)
            return _line(event.at, "waiting", f"{_name(progress, event.task)} {question}")
        case events.CallLost():
            twice = " (it may have run)" if event.may_have_run else ""
            text = f"{_name(progress, event.task)} lost its provider{twice}: {event.reason}"
            return _line(event.at, "retrying", text)
        case _:
            return _workflow_line(progress, event)


def task_text(progress: WorkflowProgress, task_id: str, text: str, at_ms: int) -> Line:
    """A log line of a task."""
    return [(clock(at_ms), "dim"), (f"  {_name(progress, task_id)}: ", "dim"), (text, "")]


def remark_line(text: str, at_ms: int) -> Line:
    """What holds the workflow up."""
    return _line(at_ms, "waiting", text)


def _workflow_line(progress: WorkflowProgress, event: AnyEvent) -> Line | None:
    took = duration(progress.seconds(event.at)) + (f", {progress.cost()}" if progress.cost() else "")
    match event:
        case events.WorkflowPaused():
            return _line(event.at, "paused", f"{progress.name} paused")
        case events.WorkflowResumed():
            return _line(event.at, "running", f"{progress.name} goes on")
        case events.WorkflowRetried():
            return _line(event.at, "running", f"{progress.name} tries {counted(len(event.tasks))} again")
        case events.SignalReceived():
            return _line(event.at, "waiting", f"signal {event.name} received")
        case events.WorkflowCancelling():
            why = f": {event.reason}" if event.reason else ""
            return _line(
                event.at, "cancelled", f"{progress.name} is to end{why}; what runs always, and what undoes, runs"
            )
        case events.WorkflowCompleted():
            return _line(event.at, "completed", f"{progress.name} completed in {took}")
        case events.WorkflowFailed():
            return _line(event.at, "failed", f"{progress.name} failed after {took}: {first_line(event.error.message)}")
        case events.WorkflowCancelled():
            reason = f": {event.reason}" if event.reason else ""
            return _line(event.at, "cancelled", f"{progress.name} cancelled after {took}{reason}")
        case _:
            return None


def _completed(progress: WorkflowProgress, event: events.TaskCompleted | events.TaskCached) -> Line | None:
    if event.task not in progress.tasks:
        return _item_completed(progress, event)
    total = len(progress.tasks)
    if total > MANY and progress.ended % (total // 20) and progress.ended != total:
        return None
    task = progress.tasks.get(event.task)
    seconds = task.seconds(event.at) if task else None
    took = "" if seconds is None else f" in {duration(seconds)}"
    if isinstance(event, events.TaskCached):
        took = f" from the cache, {duration((event.at - event.stored_at) / 1000)} old"
    return _line(event.at, "completed", f"{_name(progress, event.task)} completed{took} ({progress.ended:,}/{total:,})")


def _is_one_of_many(progress: WorkflowProgress, event: AnyEvent) -> bool:
    """What goes wrong with an item of a `for_each` is a line, but not a hundred times."""
    if not isinstance(event, _GOES_WRONG):
        return False
    parent = progress.tasks.get(event.task.rpartition("[")[0])
    if event.task in progress.tasks or parent is None or parent.items is None:
        return False
    return parent.items.failed > ITEM_FAILURES or (
        parent.items.total > MANY and not isinstance(event, events.TaskFailed)
    )


def _item_completed(progress: WorkflowProgress, event: events.TaskCompleted | events.TaskCached) -> Line | None:
    """Every twentieth part of a `for_each` is a line."""
    parent = progress.tasks.get(event.task.rpartition("[")[0])
    if parent is None or parent.items is None or parent.items.ended % max(1, parent.items.total // 20):
        return None
    return _line(event.at, "completed", f"{parent.name} {parent.items.words()}")


def _started(progress: WorkflowProgress, event: events.TaskStarted | events.TaskWaiting) -> Line | None:
    is_asked = isinstance(event, events.TaskWaiting) and event.approval is not None
    if not is_asked and (len(progress.tasks) > MANY or event.task not in progress.tasks):
        return None
    name = _name(progress, event.task)
    if isinstance(event, events.TaskStarted):
        return _line(event.at, "running", f"{name} started at {event.provider}")
    words = waits_for(event, progress.workflow_id)
    return _line(event.at, "waiting", f"{name} {words}") if words else None


def _line(at_ms: int, status: str, text: str) -> Line:
    mark, style = MARKS[status]
    return [(clock(at_ms), "dim"), ("  ", ""), (mark, style), (" " + text, "")]


def _name(progress: WorkflowProgress, task_id: str) -> str:
    task = progress.tasks.get(task_id)
    return task.name if task else task_id
