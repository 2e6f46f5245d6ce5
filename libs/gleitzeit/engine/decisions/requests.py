"""What clients ask for: submit, cancel, pause, resume, hold, retry, signal."""

from typing import Any

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import MAX_QUEUED
from gleitzeit.engine.decisions.schedules import Schedules
from gleitzeit.engine.graph import again
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev


class Requests(Schedules):
    def _submit(self, item: inp.Submit) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None:
            if known.submitted.body_sha256 != item.body_sha256:
                message = f"idempotency key {item.idempotency_key!r} was used before for another workflow"
                self._refuse(item.token, errors.InvalidState(message, {"workflow_id": known.id}))
            else:
                self._answer(item.token, known, created=False)
            return
        if not self.owns(item.workflow_id):
            self._refuse(item.token, errors.ShardElsewhere(f"another coordinator has {item.workflow_id} now"))
            return
        if self.scheduler.queued + len(item.definition.tasks) > MAX_QUEUED:
            message = f"{self.scheduler.queued} tasks are queued; the limit is {MAX_QUEUED}"
            self._refuse(item.token, errors.Overloaded(message, {"retryAfterSeconds": 5}))
            return
        if item.built is not None:
            workflow = self._enter(item.built, held=item.held)
        else:
            workflow = self._create(item.event(self._now), held=item.held)
        workflow.source = item.source
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

    def _cancel(self, item: inp.Cancel) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None and known.state == "cancelled":
            self._answer(item.token, known)
        elif (workflow := self._unfinished(item.token, item.workflow_id, "cancelled")) is not None:
            self._cancel_workflow(workflow, item.reason)
            self._answer_then(item.token, workflow)

    def _pause(self, item: inp.Pause) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "paused")
        if workflow is not None:
            for one in self._family(workflow):
                if one.state != "paused":
                    self._record(one, ev.WorkflowPaused(self._now))
            self._answer(item.token, workflow)

    def _resume(self, item: inp.Resume) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "resumed")
        if workflow is not None:
            for one in self._family(workflow):
                self._note_held(one)
                self.scheduler.held.discard(one.id)
                if one.state == "paused":
                    self._record(one, ev.WorkflowResumed(self._now))
                self.scheduler.unpark(one)
            self._answer(item.token, workflow)

    def _hold(self, item: inp.Hold) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "held")
        if workflow is not None:
            for one in self._family(workflow):
                self._note_held(one)
                self.scheduler.held.add(one.id)
            self._answer(item.token, workflow)

    def _retry(self, item: inp.Retry) -> None:
        workflow = self.workflows.get(item.workflow_id)
        if item.changed is not None and workflow is not item.changed:
            self._refuse(item.token, errors.ShardElsewhere(f"another coordinator has {item.workflow_id} now"))
        elif item.changed is not None and item.event is not None:
            self._applied(item.changed, item.event, item.changed.seq)
            self._retried(item.token, item.changed, item.event)
        elif workflow is None:
            self._refuse(item.token, errors.WorkflowNotFound(f"no workflow {item.workflow_id}"))
        else:
            try:
                event = ev.WorkflowRetried(self._now, again.can_run_again(workflow, item.tasks))
            except errors.InvalidState as error:
                self._refuse(item.token, error)
            else:
                self._record(workflow, event)
                self._retried(item.token, workflow, event)

    def _retried(self, token: Any, workflow: Workflow, event: ev.WorkflowRetried) -> None:
        self._arm_workflow_timeout(workflow)
        self._answer(token, workflow, tasks=event.tasks)

    def _signal(self, item: inp.Signal) -> None:
        if item.idempotency_key and self._has_signal(item):
            return
        workflow = self._unfinished(item.token, item.workflow_id, "signalled")
        if workflow is None:
            return
        try:
            self._deliver(workflow, _received(self._now, item))
        except errors.GleitzeitError as error:
            self._refuse(item.token, error)
        else:
            self._answer(item.token, workflow)

    def _has_signal(self, item: inp.Signal) -> bool:
        """Whether it came before, perhaps as what ended the workflow; then the asker was told."""
        workflow = self.workflows.get(item.workflow_id)
        body = None if workflow is None else (workflow.signal_keys or {}).get(item.idempotency_key)
        if workflow is None or body is None:
            return False
        if body == item.body_sha256:
            self._answer(item.token, workflow, created=False)
        else:
            message = f"idempotency key {item.idempotency_key!r} was used before for another signal"
            self._refuse(item.token, errors.InvalidState(message, {"workflow_id": workflow.id}))
        return True


def _received(now: int, item: inp.Signal) -> ev.SignalReceived:
    return ev.SignalReceived(now, item.name, item.payload, item.sender, item.idempotency_key, item.body_sha256)
