"""Why a task stands where it stands: a machine-readable reason and one sentence."""

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.engine.decisions.core import call_id
from gleitzeit.engine.decisions.inner import UNTIL
from gleitzeit.engine.decisions.params import scope_of
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.failures import beginning
from gleitzeit.engine.graph.conditions import why_unwanted
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.view import iso
from gleitzeit.errors import BudgetExceeded, GleitzeitError
from gleitzeit.spec.durations import how_soon, in_words


class Reason(Struct, frozen=True, omit_defaults=True):
    """`inner` is why that one does not go on which this one waits for: a task of the `workflow_id` that it runs, or one
    of its items."""

    task_id: str
    status: str
    reason: str
    message: str
    workflow_id: str = ""
    """Where this is an inner one: the workflow of the task."""
    inner: "Reason | None" = None
    limit: str = ""
    """Of which it waits for a permit, and another coordinator knows who has them: the caller may ask, and complete the
    message with `Engine.tell_holders`. Not for clients."""


TELLING = ("running", "waiting", "retrying", "ready", "pending")
"""The states of tasks in the order in which they say what holds a workflow up."""


def explain(engine: Engine, workflow: Workflow, task: Task, now: int) -> Reason:
    reason, message = _EXPLAIN[task.state](engine, workflow, task, now)
    limit = engine.limit_elsewhere(workflow, task) if reason == "concurrency" else ""
    return Reason(task.id, task.state, reason, message, inner=_inner(engine, workflow, task, now), limit=limit)


def _inner(engine: Engine, workflow: Workflow, task: Task, now: int) -> Reason | None:
    """Of the task that says most about why this one waits; None if that is itself."""
    if task.state != "waiting":
        return None
    if task.fan is not None:
        return _most_telling(engine, workflow, task.fan.items, now)
    child = engine.workflows.get(task.child) if task.child else None
    return None if child is None else _most_telling(engine, child, child.tasks.values(), now)


def _most_telling(engine: Engine, workflow: Workflow, tasks: Collection[Task], now: int) -> Reason | None:
    first: dict[str, Task] = {}
    for task in tasks:
        first.setdefault(task.state, task)
    found = next((first[state] for state in TELLING if state in first), None)
    return None if found is None else replace(explain(engine, workflow, found, now), workflow_id=workflow.id)


def using(task: Task) -> str:
    """Which of its alternatives a task uses."""
    return f"fallback {task.alternative}: {task.definition.fallback[task.alternative - 1].label}"


def _pending(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if task.parent is not None:
        most = task.parent.definition.for_each.max_parallel if task.parent.definition.for_each is not None else 0
        return "max_parallel", f"{task.parent.id} has as many items under way as its max_parallel allows ({most})"
    needs = (workflow.tasks[name] for name in task.definition.dependencies)
    open_ones = [other.id for other in needs if not workflow.meets(task, other)]
    if not open_ones and task.definition.late:
        if workflow.to_undo is not None or workflow.undoing is not None:
            return "undo", "waits until what was done is undone"
        others = "another task has" if workflow.ordinary == 1 else f"{workflow.ordinary:,} other tasks have"
        return "last", f"runs last: {others} not ended"
    shown = ", ".join(f"{d} ({workflow.tasks[d].state})" for d in open_ones[:5])
    more = f" and {len(open_ones) - 5} more" if len(open_ones) > 5 else ""
    return "dependency", f"waits for {shown}{more}"


def _ready(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if why := engine.why_no_permit(workflow, task):
        return "concurrency", why
    return engine.scheduler.why_waiting(workflow, task, now)


def _running(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    call = engine.calls.get(call_id(workflow.id, task.id, task.attempt))
    if call is not None and call.lost_at is not None:
        left = max(0, call.lost_at - now) / 1000
        message = f"attempt {task.attempt} is at {task.provider}, which is out of reach; given up {how_soon(left)}"
        return "provider_unreachable", message
    instead = f" ({using(task)})" if task.alternative else ""
    seconds = (now - task.started_at) / 1000
    return "running", f"attempt {task.attempt}{instead} has run at {task.provider} for {in_words(seconds)}"


def _retrying(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    left = max(0, (task.until or now) - now) / 1000
    if task.round and task.result is not None and task.error is None and not task.failures:
        return "loop", f"round {task.round} is over and its condition does not hold; the next follows {how_soon(left)}"
    if task.turned_back and task.refusals and task.error is not None:
        last = f"the last of what it names failed ({beginning(task.error.message)})"
        return "provider_busy", f"{last}; {task.provider} ({task.refusal}) is asked again {how_soon(left)}"
    if task.error is None:
        return "provider_busy", f"{task.provider} did not take it ({task.refusal}); asked again {how_soon(left)}"
    return (
        "backoff",
        f"attempt {task.attempt} failed ({beginning(task.error.message)}); the next follows {how_soon(left)}",
    )


def _waiting(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if task.fan is not None:
        items = task.fan.items
        running = sum(item.state == "running" for item in items)
        return "items", f"{len(items) - task.fan.left:,} of its {len(items):,} items have ended, {running:,} run"
    if task.definition.method == UNTIL:
        now += engine.ahead_ms
    limit = "" if task.until is None else f" for another {in_words((task.until - now) / 1000)}"
    if task.approval is not None:
        asks = f": {task.approval.message}" if task.approval.message else ""
        return "approval", f"waits{limit} for a person's answer (`gz approve {workflow.id} {task.id}`){asks}"
    if task.wants_all:
        missing = [name for name in task.signals if not any(signal.name == name for signal in workflow.signals)]
        return "signal", f"waits{limit} for the signal{'s' * (len(missing) > 1)} {' and '.join(missing)}"
    if task.signals:
        return "signal", f"waits{limit} for the signal {' or '.join(task.signals)}"
    if task.sends:
        return "sending", f"waits until the other coordinators have its signal ({len(task.sends)} workflows)"
    if task.child:
        return "child", f"waits{limit} for workflow {task.child}{_state_of(engine.workflows.get(task.child))}"
    if task.definition.method == UNTIL:
        return "timer", f"waits{limit}, until {iso(task.until or 0)}"
    return "timer", f"sleeps{limit}"


def _state_of(child: Workflow | None) -> str:
    if child is None:
        return ""
    return f", which is {child.state}: completed are {child.counts.get('completed', 0)} of {len(child.tasks)} tasks"


def _failed(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if task.error is not None and task.error.name == BudgetExceeded.name:
        return "budget_exceeded", beginning(task.error.message)
    return "failed", beginning(task.error.message) if task.error else "failed"


def _skipped(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if task.bypassed:
        return "not_wanted", "skipped because it was not wanted: " + _why_bypassed(workflow, task)
    failed = [d for d in task.definition.dependencies if workflow.tasks[d].state in ("failed", "skipped")]
    return "dependency_failed", f"skipped because {', '.join(failed) or 'a dependency'} did not complete"


def _why_bypassed(workflow: Workflow, task: Task) -> str:
    try:
        unwanted = why_unwanted(workflow, task, lambda: scope_of(workflow))
    except GleitzeitError:
        unwanted = None  # its condition reads what only the task itself sees
    return unwanted.reason if unwanted is not None else task.definition.when or "nothing before it ran"


def _cancelled(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    fan = task.parent.fan if task.parent is not None else None
    if task.parent is not None and fan is not None and fan.failed is not None:
        return "cancelled", f"cancelled because item {fan.failed.number} of {task.parent.id} failed"
    closing = workflow.closing.error if workflow.closing is not None else None
    if (error := workflow.error or closing) is not None:
        where = f" in {error.task}" * bool(error.task)
        return "cancelled", f"cancelled because its workflow failed{where}: {beginning(error.message)}"
    if workflow.outcome_now == "failed":
        return "cancelled", "cancelled because another task failed (error_policy: fail_fast)"
    return "cancelled", "cancelled with its workflow"


def _completed(engine: Engine, workflow: Workflow, task: Task, now: int) -> tuple[str, str]:
    if task.cached:
        return "cached", "completed without a call: the result of an equal one was kept"
    return "completed", f"completed in attempt {task.attempt}"


_EXPLAIN = {
    "pending": _pending,
    "ready": _ready,
    "running": _running,
    "retrying": _retrying,
    "waiting": _waiting,
    "failed": _failed,
    "skipped": _skipped,
    "cancelled": _cancelled,
    "completed": _completed,
}
