"""One workflow: a state machine over its own stream of events. It moves by `apply` alone, and decides nothing."""

from collections.abc import Callable, Iterator
from typing import Any

from gleitzeit.engine.state import states
from gleitzeit.engine.state.standing import STEP, Standing, with_one
from gleitzeit.engine.state.task import Fan, Task
from gleitzeit.errors import InvalidState
from gleitzeit.model import events as ev
from gleitzeit.model.definition import with_alternative

__all__ = ["STEP", "Refused", "Task", "Workflow"]

_CAUSE_CHARACTERS = 160
_MOST_CAUSES = 20
KEPT_KEYS = 1_000
"""Of signals: who asks again does so soon."""


class Refused(InvalidState):
    """The event is not in the table for the state things are in. Nothing has changed."""


class Workflow(Standing):
    """Build it with `replay`, or from its `WorkflowSubmitted`."""

    __slots__ = ()

    def apply(self, event: ev.AnyEvent) -> None:
        """Move. Raises Refused, and changes nothing, if the tables do not allow it."""
        _APPLY[type(event)](self, event)
        self._applied(event)

    def _applied(self, event: ev.AnyEvent) -> None:
        if self.meter is not None:
            self.meter.note(event)
        self.seq += 1
        self.updated_at = event.at

    def _move_workflow(self, event: ev.AnyEvent) -> None:
        self.state = self._next_state(event)

    def _next_state(self, event: ev.AnyEvent) -> ev.WorkflowStatus:
        try:
            return states.WORKFLOW[self.state, type(event).__name__]
        except KeyError:
            raise Refused(f"{type(event).__name__} while workflow {self.id} is {self.state}") from None

    def _next(self, task: Task, cause: str) -> ev.TaskStatus:
        try:
            return states.TASK[task.state, cause]
        except KeyError:
            raise Refused(f"{cause} while task {task.id} of {self.id} is {task.state}") from None

    def _task(self, event: ev.AnyEvent, name: str, attempt: int | None = None) -> Task:
        """The task the event is about, if the workflow and the attempt are the current ones."""
        task = self.tasks.get(name)
        if task is None:
            raise Refused(f"{type(event).__name__} for {name!r}, which is no task of {self.id}")
        if self.final:
            raise Refused(f"{type(event).__name__} while workflow {self.id} is {self.state}")
        if attempt is not None and attempt != task.attempt:
            raise Refused(f"{type(event).__name__} of attempt {attempt} while attempt {task.attempt} is current")
        return task

    def _started(self, event: ev.TaskStarted) -> None:
        task = self._begin(event)
        task.provider = event.provider
        task.instance = event.instance

    def _waiting(self, event: ev.TaskWaiting) -> None:
        task = self._begin(event)
        task.until = event.until
        task.signals = event.signals
        task.wants_all = event.all
        task.sends = event.sends
        task.child = event.child
        task.approval = event.approval

    def _cached(self, event: ev.TaskCached) -> None:
        task = self._begin(event)
        task.provider = task.instance = ""
        task.cached = True
        task.result = event.result
        task.completed_at = event.at
        self._after_end(task, event.at, met=True)

    def _added(self, event: ev.TasksAdded) -> None:
        known = self.tasks.get(event.task)
        if known is None or known.definition.for_each is None or known.parent is not None:
            raise Refused(f"TasksAdded for {event.task!r}, which has no items")
        task = self._begin(event)
        if task.fan is not None and len(task.fan.items) == event.count:
            self._reset_items(task.fan)
        else:
            self._new_items(task, event.count)
        assert task.fan is not None
        task.fan.begin()
        self.stir(task)
        for item in task.fan.due(known.definition.for_each):
            self._release(item, event.at)

    def _new_items(self, task: Task, count: int) -> None:
        """Attempts of an item that had the same name before are not used again: calls are known by them."""
        old = task.fan.items if task.fan is not None else []
        for item in old:
            self.counts[item.state] -= 1
            del self.tasks[item.id]
        used = max((item.attempt for item in old), default=0)
        gone = set(old)
        self.undoable = [one for one in self.undoable if one not in gone]
        items = [Task(task.definition, task.index, parent=task, number=number) for number in range(count)]
        for item in items:
            item.attempt = used
            self.tasks[item.id] = item
        self.counts["pending"] = self.counts.get("pending", 0) + count
        task.fan = Fan(items)

    def _repeated(self, event: ev.TaskRepeated) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskRepeated"))
        task.round += 1
        task.begin_anew()
        task.result = event.result
        task.until = event.until
        task.completed_at = event.at
        self._take_signals(task)
        task.stop_waiting()
        task.until = event.until

    def _undo_added(self, event: ev.UndoAdded) -> None:
        origin = self.to_undo
        if self.final or origin is None or origin.id != event.task or origin.definition.undo is None:
            raise Refused(f"UndoAdded for {event.task!r} of {self.id}, whose turn it is not")
        undo = self.tasks.get(f"{origin.id}[undo]")
        if undo is None:
            undo = Task(origin.definition.undo, origin.index, origin=origin)
            state = states.TASK[undo.state, states.DEPENDENCIES_MET]
            self.tasks[undo.id] = undo
            self.counts["pending"] = self.counts.get("pending", 0) + 1
        else:
            state = self._next(undo, "UndoAdded")
            undo.failures = undo.losses = 0
            undo.error = None
        if isinstance(self.undoable, list):
            self.undoable.pop()
        origin.undone = True
        self.undoing = undo
        self._ready_again(undo, state, event.at)

    def _begin(self, event: ev.TaskStarted | ev.TaskWaiting | ev.TaskCached | ev.TasksAdded) -> Task:
        task = self._task(event, event.task)
        if event.attempt <= task.attempt:
            raise Refused(f"attempt {event.attempt} of {task.id} after attempt {task.attempt}")
        state = self._next(task, type(event).__name__)
        if self.state == "paused":
            raise Refused(f"{type(event).__name__} while workflow {self.id} is paused")
        if self.state == "pending":
            self._move_workflow(event)
            self.started_at = event.at
        self._set(task, state)
        task.attempt = event.attempt
        task.started_at = event.at
        task.completed_at = 0
        task.error = None
        return task

    def _completed(self, event: ev.TaskCompleted) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskCompleted"))
        task.result = event.result
        task.completed_at = event.at
        self._take_signals(task)
        task.stop_waiting()
        if task.fan is not None:
            task.result = None
        self._after_end(task, event.at, met=True)

    def _take_signals(self, task: Task) -> None:
        for signal in self.signals_for(task) or ():
            if isinstance(self.signals, list):
                self.signals.remove(signal)

    def _retrying(self, event: ev.TaskRetrying) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskRetrying"))
        task.stop_waiting()
        task.failures += 1
        task.refusals = 0
        if not task.turned_back:
            task.place = 0
        task.error = event.error
        task.until = event.until
        task.completed_at = event.at

    def _fell_back(self, event: ev.TaskFellBack) -> None:
        task = self._task(event, event.task, event.attempt)
        state = self._next(task, "TaskFellBack")
        moves = event.place > task.place and event.alternative == task.alternative
        if not moves and not task.alternative < event.alternative <= len(task.definition.fallback):
            raise Refused(f"task {task.id} of {self.id} has no alternative {event.alternative} left")
        self._turn(task, event)
        task.refusals = 0
        self._ready_again(task, state, event.at)
        if not moves:
            task.failures = 0
            self._use(task, event.alternative)

    def _turned_back(self, event: ev.TaskTurnedBack) -> None:
        task = self._task(event, event.task, event.attempt)
        state = self._next(task, "TaskTurnedBack")
        to = task.what_is_put_off(event.alternative, event.place)
        if to is None:
            raise Refused(f"task {task.id} of {self.id} has not put off its alternative {event.alternative}")
        self._turn(task, event)
        task.put_off = tuple(one for one in task.put_off if one != to)
        task.turned_back = True
        task.failures, task.refusals, task.refusal, task.provider = 0, 1, to.reason, to.provider
        self._set(task, state)
        task.until = event.until
        task.queued_at = event.at
        self._use(task, event.alternative)

    def _turn(self, task: Task, event: ev.TaskFellBack | ev.TaskTurnedBack) -> None:
        """From what it has called to what it is to call."""
        task.leave(event.error)
        task.causes = (*task.causes, _cause(task, event))[-_MOST_CAUSES:]
        task.error = event.error
        task.completed_at = event.at
        task.place = event.place

    def _use(self, task: Task, alternative: int) -> None:
        task.alternative = alternative
        own = self.definition.tasks[task.index]
        if task.origin is None:
            task.definition = with_alternative(own, alternative)

    def _refused(self, event: ev.CallRefused) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "CallRefused"))
        task.refusals += 1
        task.refusal = event.reason
        task.until = event.until

    def _lost(self, event: ev.CallLost) -> None:
        task = self._task(event, event.task, event.attempt)
        state = self._next(task, "CallLost" if event.approval is None else states.ASKED)
        if event.may_have_run:
            task.losses += 1
            task.refusals = 0
        task.approval = event.approval
        self._ready_again(task, state, event.at)

    def _task_released(self, event: ev.TaskReleased) -> None:
        task = self._task(event, event.task)
        asked = task.approval is not None and task.approval.of_call
        state = self._next(task, states.AGAIN if asked else "TaskReleased")
        task.approval = None
        self._ready_again(task, state, event.at)

    def _failed(self, event: ev.TaskFailed) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskFailed"))
        task.failures += 1
        task.error = event.error
        task.completed_at = event.at
        task.stop_waiting()
        self.failing += self._counts_as_failure(task)
        self._after_end(task, event.at, met=self.tolerates(task))

    def _counts_as_failure(self, task: Task) -> bool:
        """An item's failure is the matter of its parent, an undo's comes too late to matter."""
        return (
            task.state == "failed"
            and task.definition.on_error != "skip"
            and task.parent is None
            and task.origin is None
        )

    def _skipped(self, event: ev.TaskSkipped) -> None:
        self._end_unrun(event, "TaskSkipped", bypassed=bool(event.cause))

    def _cancelled(self, event: ev.TaskCancelled) -> None:
        self._end_unrun(event, "TaskCancelled")

    def _end_unrun(self, event: ev.TaskSkipped | ev.TaskCancelled, cause: str, *, bypassed: bool = False) -> None:
        task = self._task(event, event.task)
        was_active = task.state != "pending"
        self._set(task, self._next(task, cause))
        task.bypassed = bypassed
        task.completed_at = event.at
        task.stop_waiting()
        self._after_end(task, event.at, met=bypassed, was_active=was_active)

    def _paused(self, event: ev.WorkflowPaused) -> None:
        self._move_workflow(event)

    def _resumed(self, event: ev.WorkflowResumed) -> None:
        self._move_workflow(event)

    def _cancelling(self, event: ev.WorkflowCancelling) -> None:
        if self.closing is not None:
            raise Refused(f"WorkflowCancelling while workflow {self.id} is closing already")
        was_pending = self.state == "pending"
        self._move_workflow(event)
        if was_pending:
            self.started_at = event.at
        self.closing = event
        self._open_late(event.at)

    def _ended(self, event: ev.WorkflowCompleted | ev.WorkflowFailed | ev.WorkflowCancelled) -> None:
        if self.unfinished:
            raise Refused(f"{type(event).__name__} while {self.unfinished} tasks of {self.id} have not ended")
        self._move_workflow(event)
        self.completed_at = event.at
        if isinstance(event, ev.WorkflowCompleted):
            self.outputs = event.outputs
        elif isinstance(event, ev.WorkflowFailed):
            self.error = event.error

    def _signalled(self, event: ev.SignalReceived) -> None:
        if self.final:
            raise Refused(f"a signal for workflow {self.id}, which is {self.state}")
        self.signals = with_one(self.signals, event)
        if event.idempotency_key:
            self._keep_key(event)

    def _keep_key(self, event: ev.SignalReceived) -> None:
        if self.signal_keys is None:
            self.signal_keys = {}
        elif len(self.signal_keys) >= KEPT_KEYS:
            del self.signal_keys[next(iter(self.signal_keys))]
        self.signal_keys[event.idempotency_key] = event.body_sha256

    def _retried(self, event: ev.WorkflowRetried) -> None:
        for _ in self._retried_steps(event):
            pass

    def apply_in_steps(self, event: ev.AnyEvent) -> Iterator[None]:
        """As `apply`, for who has others waiting: the one that changes all tasks at once takes many steps."""
        if isinstance(event, ev.WorkflowRetried):
            yield from self.retried_in_steps(event)
        else:
            self.apply(event)

    def retried_in_steps(self, event: ev.WorkflowRetried) -> Iterator[None]:
        """As `apply`, for who has others waiting. It ends with the last step; until then nobody may look at it."""
        yield from self._retried_steps(event)
        self._applied(event)

    def _retried_steps(self, event: ev.WorkflowRetried) -> Iterator[None]:
        names = set(event.tasks)
        reset: list[tuple[Task, ev.TaskStatus]] = []
        for task in filter(None, map(self.tasks.get, event.tasks)):
            reset.append((task, self._next(task, states.RESET)))
            if task.state == "completed" and not _may_run_again(task, names):
                raise Refused(f"WorkflowRetried names {task.id} of {self.id}, which is completed")
            if len(reset) % STEP == 0:
                yield
        following = self._next_state(event)
        for number, (task, state) in enumerate(reset):
            self._reset(task, state)
            if task.fan is not None:
                task.fan.values = None
                task.fan.anew |= not names.isdisjoint(task.definition.dependencies)
            if number % STEP == STEP - 1:
                yield
        self.undoable = [task for task in self.undoable if task.state == "completed"]
        self.ordinary = self.failing = 0
        for number, task in enumerate(self.document_tasks()):
            self.ordinary += not task.ended and not task.definition.late
            self.failing += self._counts_as_failure(task)
            if number % STEP == STEP - 1:
                yield
        for number, (task, _) in enumerate(reset):
            needs = (self.tasks[name] for name in task.definition.dependencies)
            task.unmet = task.definition.late + sum(not self.meets(task, other) for other in needs)
            if task.unmet == 0 and task.parent is None:
                self._release(task, event.at)
            if number % STEP == STEP - 1:
                yield
        self.state = following
        self.retried_at = event.at
        self.completed_at = 0
        self.error = None
        self.closing, self.late_open, self.outcome = None, False, ""
        self._open_late(event.at)

    def _reset(self, task: Task, state: ev.TaskStatus) -> None:
        self._set(task, state)
        task.begin_anew()
        task.round, task.put_off = 0, ()
        task.error = task.result = None
        task.completed_at = 0
        task.causes = ()
        task.bypassed = task.undone = task.cached = False
        self._use(task, 0)

    def _reset_items(self, fan: Fan) -> None:
        """They are to run again: those that did not complete, or were undone; all of them if the list may differ."""
        for item in fan.items:
            if item.ended and (fan.anew or item.state != "completed" or item.undone):
                self._reset(item, states.TASK[item.state, states.RESET])
        fan.anew = False
        self.undoable = [task for task in self.undoable if task.state == "completed"]


def _may_run_again(task: Task, names: set[str]) -> bool:
    """Whether the result of a completed task is not to be kept in a retry of the tasks `names`."""
    undone = task.undone or (task.fan is not None and any(item.undone for item in task.fan.items))
    return undone or task.definition.trigger != "success" or not names.isdisjoint(task.definition.dependencies)


def _cause(task: Task, event: ev.TaskFellBack | ev.TaskTurnedBack) -> str:
    called, message = "the task's own call", event.error.message
    if event.place or task.place:
        called = task.provider or called
    elif task.alternative:
        called = task.definition.fallback[task.alternative - 1].label
    return f"{called}: {message[:_CAUSE_CHARACTERS]}{'…' if len(message) > _CAUSE_CHARACTERS else ''}"


_APPLY: dict[type[ev.AnyEvent], Callable[[Workflow, Any], None]] = {
    ev.TaskStarted: Workflow._started,
    ev.TaskWaiting: Workflow._waiting,
    ev.TaskCompleted: Workflow._completed,
    ev.TaskCached: Workflow._cached,
    ev.TasksAdded: Workflow._added,
    ev.TaskRepeated: Workflow._repeated,
    ev.UndoAdded: Workflow._undo_added,
    ev.TaskFellBack: Workflow._fell_back,
    ev.TaskTurnedBack: Workflow._turned_back,
    ev.TaskRetrying: Workflow._retrying,
    ev.TaskReleased: Workflow._task_released,
    ev.TaskFailed: Workflow._failed,
    ev.TaskSkipped: Workflow._skipped,
    ev.TaskCancelled: Workflow._cancelled,
    ev.CallRefused: Workflow._refused,
    ev.CallLost: Workflow._lost,
    ev.SignalReceived: Workflow._signalled,
    ev.WorkflowPaused: Workflow._paused,
    ev.WorkflowResumed: Workflow._resumed,
    ev.WorkflowCompleted: Workflow._ended,
    ev.WorkflowFailed: Workflow._ended,
    ev.WorkflowCancelled: Workflow._ended,
    ev.WorkflowCancelling: Workflow._cancelling,
    ev.WorkflowRetried: Workflow._retried,
}
