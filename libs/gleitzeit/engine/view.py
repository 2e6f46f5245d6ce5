"""What others see of a workflow: plain dicts, ready to be encoded. Times are ISO 8601 in UTC, durations seconds."""

import datetime
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from gleitzeit.engine.failures import shown
from gleitzeit.engine.graph.fanout import joined_raw
from gleitzeit.engine.state.naming import task_of
from gleitzeit.engine.state.task import Fan
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.errors import TaskNotFound
from gleitzeit.model import events as ev

INLINE_BYTES = 4096
"""Results up to this size stand in a page of `workflow.get`; larger ones are there by size only."""


def iso(milliseconds: int) -> str | None:
    """`2026-11-20T13:46:00.123Z`; None for 0, which stands for "not yet"."""
    if not milliseconds:
        return None
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@functools.lru_cache(4_096)
def _second(seconds: int) -> str:
    """What is looked at together happened together: most of it is asked for again and again."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S}"


def _seconds(start: int, end: int) -> float | None:
    return (end - start) / 1000 if start and end else None


def error_view(error: ev.Failure) -> dict[str, Any]:
    view: dict[str, Any] = {"code": error.code, "name": error.name, "message": error.message}
    if error.task:
        view["task"] = error.task
    if bytes(error.data) != b"null":
        view["data"] = error.data
    return view


def task_view(task: Task, inline_bytes: int | None = INLINE_BYTES) -> dict[str, Any]:
    """`inline_bytes` None gives the result whatever its size."""
    definition = task.definition
    view: dict[str, Any] = {
        "task_id": task.id,
        "name": definition.name or task.id,
        "method": definition.method,
        "status": task.state,
        "attempts": task.attempt,
        "dependencies": definition.dependencies,
    }
    if task.alternative:
        view["alternative"] = task.alternative
        view["fallback"] = definition.fallback[task.alternative - 1].label
    if task.cached and task.state == "completed":
        view["cached"] = True
    if task.child:
        view["child"] = task.child
    if task.approval is not None:
        view["asks"] = {"message": task.approval.message, "form": task.approval.form}
    if task.state == "waiting" and task.until is not None:
        view["until"] = iso(task.until)
    if task.started_at:
        view["provider"] = task.provider
        view["started_at"] = iso(task.started_at)
        view["completed_at"] = iso(task.completed_at)
        view["duration_seconds"] = _seconds(task.started_at, task.completed_at)
    if task.fan is not None:
        view["items"] = items_view(task.fan)
    if task.parent is not None:
        view["parent"], view["index"] = task.parent.id, task.number
    if task.definition.until is not None:
        view["rounds"] = task.round + (task.state == "completed")
    result = result_of(task, None if inline_bytes is None else 2 * inline_bytes)
    if result is not None and task.state == "completed":
        size = len(bytes(result))
        if inline_bytes is None or size <= inline_bytes:
            view["result"] = result
        else:
            view["result_size_bytes"] = size
    if task.error is not None:
        view["error"] = error_view(task.error if inline_bytes is None else shown(task.error))
    return view


def result_of(task: Task, most_bytes: int | None = None) -> msgspec.Raw | None:
    """That of a task with items is made from theirs; not beyond `most_bytes` of them, for who would not show it."""
    if task.fan is None or task.state != "completed":
        return task.result
    if most_bytes is not None and sum(len(item.result or b"") for item in task.fan.items) > most_bytes:
        return None
    return joined_raw(task)


def items_view(fan: Fan) -> dict[str, int]:
    """How many there are, and how many in each state."""
    found: Counter[str] = Counter(item.state for item in fan.items)
    return {"total": len(fan.items), **found}


def counts(workflow: Workflow) -> dict[str, int]:
    return {state: n for state, n in workflow.counts.items() if n}


def status_view(workflow: Workflow, held: Collection[str]) -> dict[str, Any]:
    """What every change of a workflow answers. `held` are the ids of the workflows that are held."""
    view = {"workflow_id": workflow.id, "name": workflow.definition.name, "status": workflow.state}
    return view | {"held": workflow.id in held} | _closing(workflow)


def _closing(workflow: Workflow) -> dict[str, Any]:
    """That it is to end, and for what reason."""
    if workflow.closing is None or workflow.final:
        return {}
    return {"cancelling": workflow.closing.reason or "cancelled"}


def workflow_head(workflow: Workflow, held: Collection[str]) -> dict[str, Any]:
    """What stands above the tasks. `held` as in `status_view`."""
    view: dict[str, Any] = {
        "workflow_id": workflow.id,
        "name": workflow.definition.name,
        "status": workflow.state,
        "held": workflow.id in held,
        "priority": workflow.definition.priority.name.lower(),
        "created_at": iso(workflow.created_at),
        "started_at": iso(workflow.started_at),
        "completed_at": iso(workflow.completed_at),
        "duration_seconds": _seconds(workflow.created_at, workflow.completed_at),
        "tasks_total": len(workflow.tasks),
        "tasks_completed": workflow.counts.get("completed", 0),
        "tasks_failed": workflow.counts.get("failed", 0),
        "counts": counts(workflow),
        "seq": workflow.seq,
    }
    if workflow.submitted.origin is not None:
        view["origin"] = workflow.submitted.origin
    view |= _closing(workflow)
    if workflow.meter is not None:
        spent = workflow.meter.total
        seconds = workflow.meter.seconds(workflow.updated_at)
        view["spent"] = {"calls": spent.calls, "tokens": spent.tokens, "seconds": seconds}
    if workflow.error is not None:
        view["error"] = error_view(shown(workflow.error))
    if bytes(workflow.outputs) != b"null":
        view["outputs"] = workflow.outputs
    return view


def workflow_view(
    workflow: Workflow, held: Collection[str], *, after: int, limit: int, items_of: str = ""
) -> dict[str, Any]:
    """One page of the tasks: those after the first `after`. `next` is where the next one starts.

    They are those of the document, in its order, then what undoes them; `items_of` names one whose items are wanted
    instead. Raises TaskNotFound if it has none.
    """
    view = workflow_head(workflow, held)
    tasks = _shown(workflow) if not items_of else _items(workflow, items_of)
    after = min(after, sys.maxsize - limit)  # beyond that islice counts nothing
    view["tasks"] = [task_view(task) for task in itertools.islice(tasks, after, after + limit)]
    if next(tasks, None) is not None:
        view["next"] = after + limit
    return view


def _shown(workflow: Workflow) -> Iterator[Task]:
    yield from workflow.document_tasks()
    others = itertools.islice(workflow.tasks.values(), len(workflow.definition.tasks), None)
    yield from (task for task in others if task.parent is None)


def _items(workflow: Workflow, name: str) -> Iterator[Task]:
    task = task_of(workflow, name)
    if task.fan is None:
        raise TaskNotFound(f"task {name!r} of workflow {workflow.id} has no items")
    return iter(task.fan.items)


def result_view(workflow: Workflow) -> dict[str, Any]:
    view: dict[str, Any] = {
        "workflow_id": workflow.id,
        "name": workflow.definition.name,
        "status": workflow.state,
        "results": {t.id: result_of(t) for t in workflow.document_tasks() if t.state == "completed"},
    }
    if workflow.error is not None:
        view["error"] = error_view(workflow.error)
    if bytes(workflow.outputs) != b"null":
        view["outputs"] = workflow.outputs
    return view


def counts_raw(workflow: Workflow) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(counts(workflow)))
