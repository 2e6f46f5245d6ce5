"""Limits by key: how many workflows, and how many tasks, of one key may be under way at once. Not journaled: who holds
a permit follows from what runs, and is found again at start."""

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine.blobs import BlobNeeded
from gleitzeit.engine.core import call_id, failure
from gleitzeit.engine.params import scope_of
from gleitzeit.engine.permits import Permits
from gleitzeit.engine.rerun import Rerun
from gleitzeit.engine.task import Task
from gleitzeit.engine.workflow import Workflow
from gleitzeit.model import events as ev

LIMIT_REACHED = "CONCURRENCY_LIMIT"
REPLACED = "CONCURRENCY_REPLACED"
_HOLDING = frozenset({"running", "waiting"})


class Concurrency(Rerun):
    # Workflows: a permit is held from the first moment to the end

    def _admit(self, workflow: Workflow) -> None:
        """A new workflow, or one that begins again, takes a permit, waits for one, or ends."""
        limit = workflow.definition.concurrency
        if limit is None:
            return
        try:
            key = scope_of(workflow).filled(limit.key)
        except errors.GleitzeitError as error:
            self._cancel_workflow(workflow, "its concurrency key cannot be read", failure(error))
            return
        permits = self._workflow_permits
        if not permits.free(key, limit.limit) and limit.on_conflict == "fail":
            many = "1 workflow" if limit.limit == 1 else f"{limit.limit} workflows"
            message = f"{many} with the key {key!r} may be under way at once (concurrency)"
            error_of = ev.Failure(errors.ResourceExhausted.code, message, LIMIT_REACHED)
            self._cancel_workflow(workflow, "the limit of its concurrency key is reached", error_of)
            return
        if limit.on_conflict == "cancel_running":
            for other in list(permits.holders.get(key, ()))[: self._too_many(permits, key, limit.limit)]:
                self._cancel_workflow(self.workflows[other], f"workflow {workflow.id} takes its place (concurrency)")
        if permits.free(key, limit.limit):
            permits.take(key, workflow.id)
        else:
            self.scheduler.blocked[workflow.id] = key
            permits.wait(key, workflow.id, limit.limit)

    def _too_many(self, permits: "Permits[str] | Permits[Task]", key: str, limit: int) -> int:
        """How many must go so that one more may come."""
        return max(0, len(permits.holders.get(key, ())) + 1 - limit)

    def _readmit(self) -> None:
        """After a start: who was under way holds its permit, the others wait as before."""
        adopted, self._unadmitted = self._unadmitted, []
        begun = [w for w in adopted if w.state != "pending"]
        for workflow in sorted(begun, key=lambda w: (w.created_at, w.id)):
            limit = workflow.definition.concurrency
            assert limit is not None
            self._workflow_permits.take(scope_of(workflow).filled(limit.key), workflow.id)
        waiting = sorted((w for w in adopted if w.state == "pending"), key=lambda w: (w.created_at, w.id))
        for workflow in waiting:
            if not workflow.final:
                self._admit(workflow)

    def _leave_workflow(self, workflow: Workflow) -> None:
        waited_for = self.scheduler.blocked.pop(workflow.id, None)
        if waited_for is not None:
            self._workflow_permits.forget(workflow.id, waited_for)
        key = self._workflow_permits.leave(workflow.id)
        while key is not None and (following := self._workflow_permits.next(key)) is not None:
            self._workflow_permits.take(key, following)
            self.scheduler.blocked.pop(following, None)
            self.scheduler.unpark(self.workflows[following])

    # Tasks: a permit is held by an attempt

    def _may_begin(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task whose turn it is may start. If not, it comes back by itself, or has failed."""
        limit = task.definition.concurrency
        if limit is None or task.expands or task in self._task_permits.key_of:  # of many, each item takes one
            return True
        try:
            key = self._params.scope(workflow, task).filled(limit.key)
        except BlobNeeded as needed:
            self._need_blob(workflow, task, needed)
            return False
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return False
        permits = self._task_permits
        if not permits.free(key, limit.limit) and limit.on_conflict == "fail":
            message = f"{limit.limit} tasks with the key {key!r} run, which is the limit (concurrency)"
            error_of = ev.Failure(errors.ResourceExhausted.code, message, LIMIT_REACHED)
            self._fail_task(workflow, task, task.attempt, error_of)
            return False
        if limit.on_conflict == "cancel_running":
            for other in list(permits.holders.get(key, ()))[: self._too_many(permits, key, limit.limit)]:
                self._replace_task(other, f"task {task.id} of {workflow.id} takes its place (concurrency)")
        if permits.free(key, limit.limit):
            permits.take(key, task)
            self._permit_of[task] = workflow
            return True
        permits.wait(key, task, limit.limit)
        self._permit_of[task] = workflow
        self._waits_for_permit[task] = key
        return False

    def _replace_task(self, task: Task, reason: str) -> None:
        workflow = self._permit_of[task]
        call = self.calls.pop(call_id(workflow.id, task.id, task.attempt), None)
        if call is not None:
            self.scheduler.leave(call)
            self._effect(fx.CancelCall(call, reason))
        self._fail_task(workflow, task, task.attempt, ev.Failure(errors.TaskCancelled.code, reason, REPLACED))

    def _hold_again(self, workflow: Workflow, task: Task) -> None:
        """After a start: a task that runs or waits holds its permit."""
        limit = task.definition.concurrency
        if limit is not None and task.state in _HOLDING:
            self._task_permits.take(self._params.scope(workflow, task).filled(limit.key), task)
            self._permit_of[task] = workflow

    def _leave_task(self, task: Task) -> None:
        waited_for = self._waits_for_permit.pop(task, None)
        if waited_for is not None:
            self._task_permits.forget(task, waited_for)
        self._permit_of.pop(task, None)
        key = self._task_permits.leave(task)
        if key is not None:
            self._pass_on(key)

    def _pass_on(self, key: str) -> None:
        """To those that wait: each takes its permit when it is its turn to start once more."""
        following = self._task_permits.next(key)
        if following is not None:
            del self._waits_for_permit[following]
            workflow = self._permit_of.pop(following)
            if following.state == "ready" and not workflow.final:
                self.scheduler.add(workflow, [following])
                self.more = True
            else:
                self._pass_on(key)

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        name = getattr(event, "task", None)
        if name is not None and self._permit_of:
            task = workflow.tasks.get(name)
            if task is None:
                pass
            elif task in self._task_permits.key_of:
                if task.state not in _HOLDING:
                    self._leave_task(task)
            elif task in self._waits_for_permit and task.state != "ready":
                self._leave_task(task)
        if workflow.definition.concurrency is not None:
            if workflow.final:
                self._leave_workflow(workflow)
            elif type(event) is ev.WorkflowRetried:
                self._admit(workflow)

    def why_no_permit(self, workflow: Workflow, task: Task) -> str:
        """Why it waits for a permit, in a sentence; "" if it does not."""
        if task in self._waits_for_permit:
            limit, key = task.definition.concurrency, self._waits_for_permit[task]
            most = limit.limit if limit is not None else 1
            return f"{most} task{'s' * (most != 1)} with the key {key!r} may run at once (concurrency)"
        if workflow.id in self.scheduler.blocked:
            limit, key = workflow.definition.concurrency, self.scheduler.blocked[workflow.id]
            most = limit.limit if limit is not None else 1
            return f"{most} workflow{'s' * (most != 1)} with the key {key!r} may be under way at once (concurrency)"
        return ""
