"""What still happens in a workflow that fails or is cancelled: `always`, `on_failure`, `undo`."""

from msgspec.structs import replace

from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev


def is_spared(task: Task) -> bool:
    """Whether it runs although its workflow is to end. Items of a task that was cut short do not, whoever goes on."""
    if task.parent is not None and task.parent.ended:
        return False
    return task.definition.trigger != "success" or task.definition.late or task.origin is not None


def closes_first(workflow: Workflow) -> bool:
    """Whether something has to run before the workflow can be cancelled."""
    return bool(workflow.undoable) or any(not task.ended and is_spared(task) for task in workflow.tasks.values())


def ending(workflow: Workflow, now: int) -> ev.WorkflowCancelled | ev.WorkflowFailed | None:
    """How a workflow ends that did not reach its goal; None if it did, as far as its tasks are concerned."""
    undone = _left_undone(workflow)
    if workflow.closing is not None and workflow.closing.error is None:
        return ev.WorkflowCancelled(now, f"{workflow.closing.reason}{undone}".removeprefix("; "))
    if workflow.closing is not None and workflow.closing.error is not None:
        error = workflow.closing.error
        return ev.WorkflowFailed(now, replace(error, message=error.message + undone))
    first = first_failure(workflow)
    if first is None:
        return None
    cause = first.error or ev.Failure(-28003, "a task failed")
    error = ev.Failure(cause.code, cause.message + undone, cause.name, retryable=cause.retryable, task=first.id)
    return ev.WorkflowFailed(now, error)


def outcome_facts(workflow: Workflow) -> dict[str, object]:
    """`${workflow.status}` and `${workflow.error}` of tasks that run at the end: what all others came to. It does not
    change while they run, whatever becomes of them. `failure` is what `${workflow.error.message}` reads."""
    if workflow.outcome in ("", "completed"):
        return {"status": workflow.outcome or "running", "error": None, "failure": None}
    first = first_failure(workflow)
    error = first.error if first is not None else None
    if workflow.closing is not None and workflow.closing.error is not None:
        error = workflow.closing.error
    if error is None:
        return {"status": workflow.outcome, "error": None, "failure": None}
    task = first.id if first is not None and first.error is error else ""
    failure = {"code": error.code, "name": error.name, "message": error.message, "task": task}
    return {"status": workflow.outcome, "error": error.message, "failure": failure}


def first_failure(workflow: Workflow) -> Task | None:
    """The task for which the workflow fails."""
    if not workflow.failing:
        return None
    failed = [t for t in workflow.document_tasks() if t.state == "failed" and t.definition.on_error != "skip"]
    return min(failed, key=lambda t: (t.completed_at, t.index))


def dead_ends(workflow: Workflow) -> list[Task]:
    """The tasks that have ended so that what waits for their completion waits in vain."""
    return [
        task
        for task in workflow.document_tasks()
        if task.state == "cancelled"
        or (task.state == "skipped" and not task.bypassed)
        or (task.state == "failed" and not workflow.tolerates(task))
    ]


def _left_undone(workflow: Workflow) -> str:
    """The tasks whose undo did not succeed, for an error's message."""
    if len(workflow.tasks) == len(workflow.definition.tasks):
        return ""
    tasks = workflow.tasks.values()
    names = [t.origin.id for t in tasks if t.origin is not None and t.origin.undone and t.state != "completed"]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"; could not be undone: {', '.join(names[:10])}{more}" if names else ""
