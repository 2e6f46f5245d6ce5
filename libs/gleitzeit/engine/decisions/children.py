"""Workflows that are tasks of others: begun in the commit in which the task begins to wait, ended in the one in which
it ends. What is done to the parent is done to them."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine.decisions.core import failure, to_ms
from gleitzeit.engine.decisions.flow import Flow
from gleitzeit.engine.decisions.inner import Run
from gleitzeit.engine.decisions.params import scope_of
from gleitzeit.engine.graph.retry import delay_seconds
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.view import error_view
from gleitzeit.model import events as ev
from gleitzeit.model.traces import carried_on
from gleitzeit.spec.inputs import misfits
from gleitzeit.spec.references.references import substitute

CHILD_FAILED = "CHILD_FAILED"
ENDS = frozenset({ev.WorkflowCompleted, ev.WorkflowFailed, ev.WorkflowCancelled})
_GIVEN_UP = (ev.TaskCancelled, ev.TaskFailed, ev.TaskRetrying)


def child_id(parent: str, task: str, attempt: int) -> str:
    return f"{parent}~{task}~{attempt}"


class Children(Flow):
    def _begin_child(self, workflow: Workflow, task: Task, run: Run) -> None:
        definition = task.definition.workflow
        if definition is None:
            raise errors.ParameterError("workflow/run: the task has no workflow to run")
        wrong = misfits(msgspec.json.decode(definition.inputs, type=dict[str, Any]), run.inputs)
        if wrong:
            raise errors.ParameterError("; ".join(message for _, message, _ in wrong))
        attempt = task.attempt + 1
        origin = ev.Origin(parent=workflow.id, task=task.id, attempt=attempt, callback=run.callback)
        name = child_id(workflow.id, task.id, attempt)
        timeout = task.definition.timeout_seconds
        until = self._now + to_ms(timeout) if timeout is not None and run.wait else None
        self._record(workflow, ev.TaskWaiting(self._now, task.id, attempt, until, child=name))
        trace = carried_on(workflow.submitted.traceparent, workflow.id, name)
        inputs = Raw(msgspec.json.encode(run.inputs))
        submitted = ev.WorkflowSubmitted(self._now, name, definition, inputs, origin=origin, traceparent=trace)
        child = self._create(submitted, held=workflow.id in self.scheduler.held)
        if not run.wait:
            result = {"workflow_id": child.id, "status": child.state, "result": None, "outputs": None}
            self._finish(workflow, task, Raw(msgspec.json.encode(result)))

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        if type(event) in ENDS:
            self._end_parents_task(workflow)
        elif isinstance(event, _GIVEN_UP):
            self._cancel_child(workflow, workflow.tasks[event.task], f"its task in {workflow.id} has ended")

    def _end_parents_task(self, child: Workflow) -> None:
        origin = child.submitted.origin
        parent = self.workflows.get(origin.parent) if origin is not None and origin.parent else None
        if parent is None or origin is None or parent.final:
            return
        task = parent.tasks[origin.task]
        if task.state != "waiting" or task.child != child.id:
            return
        if child.state != "completed":
            self._wait_failed(parent, task, _failure_of(child))
            return
        try:
            result = _result_of(child)
        except errors.GleitzeitError as error:
            self._wait_failed(parent, task, failure(error))
        else:
            self._finish(parent, task, result)

    def _wait_failed(self, workflow: Workflow, task: Task, error: ev.Failure) -> None:
        """A wait that may be tried again by the task's policy: of a child, each attempt is a new one."""
        policy, failures = task.definition.retry, task.failures + 1
        if error.retryable and failures < policy.max_attempts:
            until = self._now + to_ms(delay_seconds(policy, failures, child_id(workflow.id, task.id, task.attempt)))
            self._record(workflow, ev.TaskRetrying(self._now, task.id, task.attempt, error, until))
            self._at(until, self._release, workflow, task, task.attempt)
        else:
            self._fail_task(workflow, task, task.attempt, error)

    def _cancel_child(self, parent: Workflow, task: Task, reason: str) -> None:
        """One that ends already takes its time for that, unless its parent is cut short."""
        child = self.workflows.get(task.child) if task.child else None
        if child is None or child.final:
            return
        cut_short = parent.closing is not None and self._stopping.get(parent.id) is False
        if child.closing is None or cut_short:
            self._cancel_workflow(child, reason)

    def _family(self, workflow: Workflow) -> Iterator[Workflow]:
        """The workflow and all below it that its tasks wait for."""
        yield workflow
        for task in workflow.tasks.values():
            if task.state == "waiting" and task.child:
                child = self.workflows.get(task.child)
                if child is not None and not child.final:
                    yield from self._family(child)


def report_of(child: Workflow) -> Raw:
    """What a signal says of one that has ended."""
    said: dict[str, object] = {"workflow_id": child.id, "status": child.state, "result": None, "outputs": None}
    if child.error is not None:
        said["error"] = error_view(child.error)
    if child.state == "completed":
        try:
            return _result_of(child)
        except errors.GleitzeitError as error:
            said["error"] = error_view(failure(error))
    return Raw(msgspec.json.encode(said))


def _failure_of(child: Workflow) -> ev.Failure:
    data = Raw(msgspec.json.encode({"workflow_id": child.id, "status": child.state}))
    if child.error is None:
        return ev.Failure(errors.TaskCancelled.code, f"workflow {child.id} was cancelled", CHILD_FAILED, data)
    error = child.error
    where = f" in {error.task}" if error.task else ""
    return ev.Failure(error.code, f"workflow {child.id} failed{where}: {error.message}", CHILD_FAILED, data, True)


def _result_of(child: Workflow) -> Raw:
    """Its outputs, or what the last of its tasks came to. Raises ParameterError."""
    outputs = None if bytes(child.outputs) == b"null" else child.outputs
    result: object = outputs
    if outputs is None:
        last = [t for t in child.tasks.values() if t.state == "completed" and not t.dependents]
        result = substitute(f"${{{last[-1].id}}}", scope_of(child).resolve) if last else None
    return Raw(
        msgspec.json.encode({"result": result, "outputs": outputs, "workflow_id": child.id, "status": child.state})
    )
