"""What the log tells of workflows: begin, end, and what went wrong; each line with workflow, task and attempt."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from gleitzeit.engine.scheduling.breaker import Change
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev

log = logging.getLogger("gz.coordinator.workflows")

_Line = tuple[int, Callable[[Workflow, Any], str]]
_LINES: dict[type, _Line] = {
    ev.WorkflowSubmitted: (
        logging.INFO,
        lambda w, e: f"workflow {w.definition.name!r} submitted, tasks: {len(w.tasks)}",
    ),
    ev.WorkflowCompleted: (logging.INFO, lambda w, e: f"workflow {w.definition.name!r} completed"),
    ev.WorkflowFailed: (logging.WARNING, lambda w, e: f"workflow {w.definition.name!r} failed: {e.error.message}"),
    ev.WorkflowCancelled: (logging.INFO, lambda w, e: f"workflow {w.definition.name!r} cancelled {e.reason}".rstrip()),
    ev.WorkflowRetried: (
        logging.INFO,
        lambda w, e: f"workflow {w.definition.name!r} tried again, tasks: {len(e.tasks)}",
    ),
    ev.WorkflowCancelling: (
        logging.INFO,
        lambda w, e: f"workflow {w.definition.name!r} is to end {e.reason}".rstrip() + "; what runs always runs before",
    ),
    ev.TasksAdded: (logging.INFO, lambda w, e: f"task {e.task} has {e.count} items"),
    ev.TaskRepeated: (logging.DEBUG, lambda w, e: f"task {e.task} goes into another round"),
    ev.UndoAdded: (logging.INFO, lambda w, e: f"task {e.task} is being undone"),
    ev.TaskFailed: (logging.WARNING, lambda w, e: f"task {e.task} failed: {e.error.message}"),
    ev.TaskRetrying: (logging.INFO, lambda w, e: f"task {e.task} failed and is tried again: {e.error.message}"),
    ev.CallLost: (
        logging.WARNING,
        lambda w, e: f"task {e.task} {_after_loss(e)}: {e.reason}",
    ),
    ev.CallRefused: (logging.DEBUG, lambda w, e: f"task {e.task} was not taken: {e.reason}"),
}


def _after_loss(event: ev.CallLost) -> str:
    if event.approval is not None:
        return "may have run, and somebody is asked whether it is to run again"
    return "may run twice" if event.may_have_run else "is called anew"


def narrate_circuits(changes: list[Change]) -> None:
    """Log what circuits did, and empty the list."""
    for change in changes:
        about = {"provider": change.provider, "instance": change.instance, "method": change.method}
        where = f"{change.method} at {change.provider}"
        if change.state == "closed":
            log.info("%s is well again", where, extra=about)
        else:
            message = "%s failed %d times in a row: left alone for %g s, then tried again (circuit open)"
            log.warning(message, where, change.failures, change.seconds, extra=about)
    changes.clear()


def narrate(workflow: Workflow, events: Iterable[ev.AnyEvent]) -> None:
    """Log what of these events is worth a line."""
    for event in events:
        line = _LINES.get(type(event))
        if line is not None and log.isEnabledFor(line[0]):
            about = {"workflow_id": workflow.id}
            for field in ("task", "attempt"):
                if hasattr(event, field):
                    about["task_id" if field == "task" else field] = getattr(event, field)
            log.log(line[0], "%s", line[1](workflow, event), extra=about)
