"""What follows from what was recorded: tasks queued or skipped, failures and cancels spread, workflows ended."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.decisions.core import Append, call_id, failure, to_ms
from gleitzeit.engine.decisions.params import outputs_of
from gleitzeit.engine.decisions.sweeps import Sweeps
from gleitzeit.engine.graph import cleanup, fanout
from gleitzeit.engine.graph.conditions import why_unwanted
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import TaskDefinition
from gleitzeit.spec.durations import in_words

MAX_LOADS = 3
"""Of one large value for the start of a task: beyond that one drives out the other."""
_PART = 500
_CANCELLED = "the workflow was cancelled"
NO_FALLBACK = frozenset({errors.BudgetExceeded.name, errors.LoopExhausted.name, "CALL_LOST", "CONCURRENCY_REPLACED"})
"""What is spent is spent for the alternatives too; what may have had its effect is not repeated elsewhere; and who made
room for another does not come back by another way."""
T = TypeVar("T")


class Settling(Sweeps):
    # Beginnings

    def _create(self, event: ev.WorkflowSubmitted, *, held: bool = False) -> Workflow:
        """Begin a workflow, whose id must be new."""
        return self._enter(Workflow(event), held=held)

    def _enter(self, workflow: Workflow, *, held: bool = False) -> Workflow:
        self.workflows[workflow.id] = workflow
        self._decision.appends[workflow.id] = Append(workflow, 1, [workflow.submitted])
        self._touched[workflow.id] = workflow
        if held:
            self.scheduler.held.add(workflow.id)
        self._arm_workflow_timeout(workflow)
        self._admit(workflow)
        return workflow

    def _admit(self, workflow: Workflow) -> None:
        """A new workflow, which may have to wait before anything of it starts."""

    def _arm_workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.definition.timeout_seconds is not None:
            self._at(_timeout_at(workflow), self._workflow_timeout, workflow)

    def _workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.final or _timeout_at(workflow) > self._now:
            return
        seconds = workflow.definition.timeout_seconds or 0
        message = f"the workflow took longer than its timeout of {in_words(seconds)}"
        error = ev.Failure(-28004, message, "WORKFLOW_TIMEOUT")
        self._cancel_workflow(workflow, "the workflow's timeout is over", error)

    # Failures and cancels

    def _fail_task(self, workflow: Workflow, task: Task, attempt: int, error: ev.Failure) -> None:
        """For good: what the task called, and if it has no alternative left the task itself."""
        self._loads.pop(task, None)
        self.scheduler.looked_up.discard(task)
        under_way = task.state in ("ready", "running", "retrying") and not task.expands
        if under_way and error.name not in NO_FALLBACK and self._turns(workflow, task, attempt, error):
            return
        if task.causes:
            before = "; ".join(task.causes)
            error = replace(error, message=f"{error.message} (what was tried before failed, too: {before})")
        self._record(workflow, ev.TaskFailed(self._now, task.id, attempt, error))
        if task.parent is None and task.origin is None and not workflow.tolerates(task):
            self._after_failure(workflow, task)

    def _turns(self, workflow: Workflow, task: Task, attempt: int, error: ev.Failure) -> bool:
        """Whether there is something else for the task to call: its next alternative, or what it has put off."""
        following = task.alternative + 1
        if task.turned_back or following > len(task.definition.fallback):
            return self._turns_back(workflow, task, attempt, error)
        label = task.definition.fallback[following - 1].label
        self._record(workflow, ev.TaskFellBack(self._now, task.id, attempt, error, following, label))
        return True

    def _turns_back(
        self, workflow: Workflow, task: Task, attempt: int, error: ev.Failure, before: int | None = None
    ) -> bool:
        """Whether it has put something off, for which it waits now; not for longer than until `before`."""
        to = task.next_put_off
        if to is None or (before is not None and to.until >= before):
            return False
        label = task.definition.fallback[to.alternative - 1].label if to.alternative else to.provider
        until = max(to.until, self._now)
        event = ev.TaskTurnedBack(self._now, task.id, attempt, error, to.alternative, until, label, to.place)
        self._record(workflow, event)
        self._at(until, self._release, workflow, task, attempt)
        self._arm_queue_timeout(workflow, task)
        return True

    def _after_failure(self, workflow: Workflow, *tasks: Task) -> None:
        """What failures mean for the other tasks, by the workflow's policy."""
        if workflow.final:
            return
        first = next((task for task in tasks if task.state == "failed" and not cleanup.is_spared(task)), None)
        if workflow.definition.error_policy == "fail_fast" and first is not None:
            self._stop_all_tasks(workflow, f"task {first.id} failed")
        self._sweep(workflow, self._skip_dependents(workflow, tasks))

    def _skip_dependents(self, workflow: Workflow, tasks: Iterable[Task]) -> Iterator[None]:
        """Those that wait for their completion, which will not be, however far."""
        stack = [(task, task.definition.name or task.id) for task in tasks]
        while stack:
            failed, name = stack.pop()
            for dependent in failed.dependents:
                if dependent.state == "pending" and dependent.definition.trigger == "success":
                    reason = f"task {name} did not complete"
                    self._record(workflow, ev.TaskSkipped(self._now, dependent.id, reason))
                    stack.append((dependent, name))
                    yield

    def _stop_all_tasks(self, workflow: Workflow, reason: str) -> None:
        """Start nothing more, and cancel whatever has not ended. What runs always is let be."""
        self._stopping.setdefault(workflow.id, True)
        self._sweep(workflow, self._end_all_tasks(workflow, reason, spare=True))

    def _end_all_tasks(self, workflow: Workflow, reason: str, *, spare: bool) -> Iterator[None]:
        """Those that run come first: their providers are told."""
        running = [call.task for call in self.calls.values() if call.workflow is workflow]
        for task in itertools.chain(running, list(workflow.tasks.values())):
            if task.ended or (spare and cleanup.is_spared(task)):
                continue
            if task.state == "running":
                call = self.calls.pop(call_id(workflow.id, task.id, task.attempt), None)
                if call is not None:
                    self.scheduler.leave(call)
                    self._effect(fx.CancelCall(call, reason))
            self._record(workflow, ev.TaskCancelled(self._now, task.id, reason))
            yield
        if workflow.unfinished:
            yield from self._skip_dependents(workflow, cleanup.dead_ends(workflow))

    def _cancel_workflow(self, workflow: Workflow, reason: str, error: ev.Failure | None = None) -> None:
        """Cancel it, or with `error` let it fail. What runs always, and what undoes, runs before."""
        why = reason or _CANCELLED
        if workflow.closing is None and (workflow.unfinished > self.at_once or cleanup.closes_first(workflow)):
            self._record(workflow, ev.WorkflowCancelling(self._now, reason, error))
            self._note_held(workflow)
            self.scheduler.held.discard(workflow.id)
            self.scheduler.unpark(workflow)
            self._stop_all_tasks(workflow, why)
            self._arm_workflow_timeout(workflow)
            return
        self._stopping[workflow.id] = False
        steps = self._cut_short(workflow, why, reason, error)
        if workflow.unfinished > self.at_once:
            self._sweep(workflow, steps)
        else:
            self._room -= sum(1 for _ in steps)

    def _cut_short(self, workflow: Workflow, why: str, reason: str, error: ev.Failure | None) -> Iterator[None]:
        while workflow.unfinished:  # in the end also what was added meanwhile
            yield from self._end_all_tasks(workflow, why, spare=False)
        event = cleanup.ending(workflow, self._now) if workflow.closing is not None else None
        if event is None:
            event = ev.WorkflowCancelled(self._now, reason) if error is None else ev.WorkflowFailed(self._now, error)
        self._ended(workflow, event)

    def _close_again(self, workflow: Workflow) -> None:
        """After a start: it is to end, and perhaps not all that follows had happened."""
        if workflow.closing is not None and not workflow.final:
            self._stop_all_tasks(workflow, workflow.closing.reason or _CANCELLED)

    def _is_stopped(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task that could start is cancelled instead: with many others, or here."""
        spares = self._stopping.get(workflow.id)
        if spares is not None and not (spares and cleanup.is_spared(task)):
            return True
        if task.parent is None or not fanout.is_given_up(task.parent):
            return False
        self._record(workflow, ev.TaskCancelled(self._now, task.id, fanout.why_given_up(task.parent)))
        return True

    # What became ready

    def _release(self, workflow: Workflow, task: Task, attempt: int) -> None:
        due = task.state == "retrying" and task.attempt == attempt and (task.until or 0) <= self._now
        if due and not workflow.final:
            self._record(workflow, ev.TaskReleased(self._now, task.id))

    def _settle(self) -> None:
        """Queue what became ready and end what has nothing left, until nothing more follows, or so much of it as one
        turn has room for."""
        while self._touched and self._room > 0:
            _, workflow = self._touched.popitem()
            self._room -= 1
            while workflow.stirred and not workflow.final:
                self._sweep(workflow, self._settle_items(workflow, workflow.stirred.popitem()[0]))
            if workflow.released and workflow.id not in self._sweeps:
                self._sweep(workflow, self._queue(workflow))
            cut_short = self._stopping.get(workflow.id) is False
            if not workflow.final and not cut_short and (origin := workflow.to_undo) is not None:
                self._record(workflow, ev.UndoAdded(self._now, origin.id))
            if not workflow.final and not workflow.unfinished:
                self._end(workflow)

    def _settle_items(self, workflow: Workflow, parent: Task) -> Iterator[None]:
        for event in fanout.follows(workflow, parent, lambda: self._now):
            if isinstance(event, ev.TaskFailed):
                self._fail_task(workflow, parent, event.attempt, event.error)
            else:
                self._record(workflow, event)
            yield

    def _queue(self, workflow: Workflow) -> Iterator[None]:
        """Those that became ready: so many at a time, and others between them."""
        while workflow.released:
            size = max(1, min(self._room, _PART))
            released, workflow.released = workflow.released[:size], workflow.released[size:]
            self._queue_part(workflow, released)
            for _ in released:
                yield

    def _queue_part(self, workflow: Workflow, released: list[Task]) -> None:
        for task in released:
            if task.state == "ready" and not self._is_stopped(workflow, task) and self._is_wanted(workflow, task):
                task.models = self._params.models_of(workflow, task)
                if not (task.definition.fallback and self._moves_on(workflow, task)):
                    self.scheduler.add(workflow, (task,))
                    self._arm_queue_timeout(workflow, task)

    def _arm_queue_timeout(self, workflow: Workflow, task: Task) -> None:
        seconds = task.definition.queue_timeout_seconds
        if seconds is not None:
            self._at(task.queued_at + to_ms(seconds), self._queue_timeout, workflow, task, task.queued_at)

    def _is_wanted(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task that could start is to; if not, that is recorded. One that has begun goes on."""
        if task.completed_at or task.failures or task.losses or task.refusals:
            return True
        try:
            unwanted = why_unwanted(workflow, task, lambda: self._params.scope(workflow, task))
        except BlobNeeded as needed:
            self._await_blob(needed, self._ask_again, workflow, task, task.ready_at)
            return False
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return False
        if unwanted is not None:
            self._record(workflow, ev.TaskSkipped(self._now, task.id, unwanted.reason, unwanted.cause))
        return unwanted is None

    def _ask_again(self, workflow: Workflow, task: Task, ready_at: int) -> None:
        """Whether it is wanted: what its condition reads is there now."""
        if task.state == "ready" and task.ready_at == ready_at and not workflow.final:
            workflow.released.append(task)
            self._touch(workflow)

    def _moves_on(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task has turned to its next alternative, as nobody may be called for this one now."""
        moves = (
            not task.expands
            and task.alternative < len(task.definition.fallback)
            and not task.turned_back
            and self.scheduler.shut_out(workflow, task)
        )
        if moves:
            _, why = self.scheduler.why_waiting(workflow, task)
            self._fail_task(workflow, task, task.attempt, failure(errors.CircuitOpen(why)))
        return moves

    def _had(self, workflow: Workflow, task: Task, read: Callable[[], T]) -> T | None:
        """What a task that is ready is to begin with. None if that cannot be had now: it comes back, or has failed."""
        try:
            return read()
        except BlobNeeded as needed:
            self._need_blob(workflow, task, needed)
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
        return None

    def _need_blob(self, workflow: Workflow, task: Task, needed: BlobNeeded) -> None:
        """What the task is to be started with looks into a large value; until that is answered it is in no queue."""
        loads = self._loads.setdefault(task, Counter())
        loads[needed.look] += 1
        if loads[needed.look] > MAX_LOADS:
            error = errors.ResourceExhausted("its references look into more and larger values than there is room for")
            self._fail_task(workflow, task, task.attempt, failure(error))
        else:
            self._await_blob(needed, self._queue_again, workflow, task, task.definition, task.ready_at)

    def _queue_again(self, workflow: Workflow, task: Task, definition: TaskDefinition, ready_at: int) -> None:
        if workflow.final or task.state != "ready" or (task.definition, task.ready_at) != (definition, ready_at):
            self._loads.pop(task, None)
        else:
            self.scheduler.add(workflow, [task])

    def _queue_timeout(self, workflow: Workflow, task: Task, queued_at: int) -> None:
        refused = task.state == "retrying" and task.refusals > 0
        waits = (task.state == "ready" and not task.expands) or refused
        if waits and task.queued_at == queued_at and not workflow.final:
            seconds = task.definition.queue_timeout_seconds or 0
            reason, why = self.scheduler.why_waiting(workflow, task)
            if refused:
                reason, why = "provider_busy", f"{task.provider} did not take it: {task.refusal}"
            kind = errors.ProviderNotAvailable if reason == "no_provider" else errors.TaskTimeout
            error = kind(f"not started within {in_words(seconds)} (queue_timeout): {why}")
            self._fail_task(workflow, task, task.attempt, failure(error))

    # Ends

    def _end(self, workflow: Workflow) -> None:
        event: ev.AnyEvent | None = cleanup.ending(workflow, self._now)
        if event is None:
            try:
                event = ev.WorkflowCompleted(self._now, outputs_of(workflow, self._blobs.value))
            except BlobNeeded as needed:
                self._await_blob(needed, self._touch, workflow)
                return
            except errors.GleitzeitError as error:
                event = ev.WorkflowFailed(self._now, failure(error))
        self._ended(workflow, event)

    def _ended(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        self._record(workflow, event)
        workflow.released.clear()  # nobody queues what has ended, and it may leave memory before the next turn
        self._note_held(workflow)
        self.scheduler.forget(workflow)
        self._params.forget(workflow.id)
        self._budgets.pop(workflow.id, None)
        for token in self._forget_sweeps(workflow):
            self._answer(token, workflow)
        for task in workflow.document_tasks():
            if task.fan is not None:
                task.fan.values = None


def _timeout_at(workflow: Workflow) -> int:
    """When a workflow's time is up: it begins anew with a retry by hand, and once more for what runs at its end."""
    began = workflow.closing.at if workflow.closing is not None else max(workflow.created_at, workflow.retried_at)
    return began + to_ms(workflow.definition.timeout_seconds or 0)
