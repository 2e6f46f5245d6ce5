"""What clients ask for: submit, cancel, pause, resume, hold, retry, signal."""

from collections.abc import Iterable
from typing import Any

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine.calls import Calls
from gleitzeit.engine.core import MAX_QUEUED
from gleitzeit.engine.workflow import Task, Workflow
from gleitzeit.model import events as ev


class Requests(Calls):
    def _submit(self, item: fx.Submit) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None:
            if known.submitted.body_sha256 != item.body_sha256:
                message = f"idempotency key {item.idempotency_key!r} was used before for another workflow"
                self._refuse(item.token, errors.InvalidState(message, {"workflow_id": known.id}))
            else:
                self._answer(item.token, known, created=False)
            return
        if self.scheduler.queued + len(item.definition.tasks) > MAX_QUEUED:
            message = f"{self.scheduler.queued} tasks are queued; the limit is {MAX_QUEUED}"
            self._refuse(item.token, errors.Overloaded(message, {"retryAfterSeconds": 5}))
            return
        event = ev.WorkflowSubmitted(
            self._now,
            item.workflow_id,
            item.definition,
            item.inputs,
            item.idempotency_key,
            item.body_sha256,
            item.origin,
        )
        workflow = self._create(event, held=item.held)
        self._answer(item.token, workflow)

    def _unfinished(self, token: Any, workflow_id: str, wish: str) -> Workflow | None:
        """The workflow, or None after the asker was told why not."""
        workflow = self.workflows.get(workflow_id)
        if workflow is None:
            self._refuse(token, errors.WorkflowNotFound(f"no workflow {workflow_id}"))
        elif workflow.final:
            message = f"workflow {workflow_id} is {workflow.state}: it cannot be {wish}"
            self._refuse(token, errors.InvalidState(message, {"status": workflow.state}))
        else:
            return workflow
        return None

    def _cancel(self, item: fx.Cancel) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None and known.state == "cancelled":
            self._answer(item.token, known)
        elif (workflow := self._unfinished(item.token, item.workflow_id, "cancelled")) is not None:
            self._cancel_workflow(workflow, item.reason)
            self._answer(item.token, workflow)

    def _pause(self, item: fx.Pause) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "paused")
        if workflow is not None:
            for one in self._family(workflow):
                if one.state != "paused":
                    self._record(one, ev.WorkflowPaused(self._now))
            self._answer(item.token, workflow)

    def _resume(self, item: fx.Resume) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "resumed")
        if workflow is not None:
            for one in self._family(workflow):
                self.scheduler.held.discard(one.id)
                if one.state == "paused":
                    self._record(one, ev.WorkflowResumed(self._now))
                self.scheduler.unpark(one)
            self._answer(item.token, workflow)

    def _hold(self, item: fx.Hold) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "held")
        if workflow is not None:
            self.scheduler.held.update(one.id for one in self._family(workflow))
            self._answer(item.token, workflow)

    def _retry(self, item: fx.Retry) -> None:
        workflow = self.workflows.get(item.workflow_id)
        if workflow is None:
            self._refuse(item.token, errors.WorkflowNotFound(f"no workflow {item.workflow_id}"))
            return
        if workflow.state not in ("failed", "cancelled"):
            message = f"workflow {workflow.id} is {workflow.state}: only what failed or was cancelled can be retried"
            self._refuse(item.token, errors.InvalidState(message, {"status": workflow.state}))
            return
        chosen = _with_dependents(workflow, item.tasks) if item.tasks else set(workflow.tasks)
        names = _can_run_again(workflow, chosen)
        if not names:
            self._refuse(item.token, errors.InvalidState(_why_not_retried(workflow, item.tasks)))
            return
        self._record(workflow, ev.WorkflowRetried(self._now, names))
        self._arm_workflow_timeout(workflow)
        self._answer(item.token, workflow, tasks=names)

    def _signal(self, item: fx.Signal) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "signalled")
        if workflow is None:
            return
        try:
            self._deliver(workflow, ev.SignalReceived(self._now, item.name, item.payload, item.sender))
        except errors.GleitzeitError as error:
            self._refuse(item.token, error)
        else:
            self._answer(item.token, workflow)


def _with_dependents(workflow: Workflow, names: Iterable[str]) -> set[str]:
    """The named tasks and everything that waits for them, however far."""
    chosen: set[str] = set()
    stack = [workflow.tasks[name] for name in names if name in workflow.tasks]
    while stack:
        task = stack.pop()
        if task.id not in chosen:
            chosen.add(task.id)
            stack.extend(task.dependents)
    return chosen


def _can_run_again(workflow: Workflow, chosen: set[str]) -> tuple[str, ...]:
    """Those of the chosen tasks that did not complete, but for those that would wait for ever: for a task that did not
    complete either and is not tried again."""
    names = {name for name in chosen if workflow.tasks[name].state in ("failed", "skipped", "cancelled")}
    stuck = [name for name in names if _obstacles(workflow, workflow.tasks[name], names)]
    while stuck:
        name = stuck.pop()
        names.discard(name)
        stuck += [d.id for d in workflow.tasks[name].dependents if d.id in names]
    return tuple(task.id for task in workflow.tasks.values() if task.id in names)


def _obstacles(workflow: Workflow, task: Task, retried: set[str]) -> list[Task]:
    """The dependencies for want of which a task cannot run although `retried` are tried again."""
    dependencies = (workflow.tasks[name] for name in task.definition.dependencies)
    return [d for d in dependencies if d.id not in retried and not workflow.satisfied(d)]


def _why_not_retried(workflow: Workflow, wanted: Iterable[str]) -> str:
    for name in wanted:
        for obstacle in _obstacles(workflow, workflow.tasks[name], set()):
            return f"task {name} needs {obstacle.id}, which is {obstacle.state}: retry {obstacle.id}"
    return f"nothing to retry in workflow {workflow.id}"
