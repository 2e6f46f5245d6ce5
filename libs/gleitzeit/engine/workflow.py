"""One workflow: a state machine over its own stream of events. It moves by `apply` alone, and decides nothing."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw

from gleitzeit.engine import states
from gleitzeit.engine.meter import meter_for
from gleitzeit.errors import InvalidState
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, TaskDefinition, with_alternative

_CAUSE_CHARACTERS = 160


class Refused(InvalidState):
    """The event is not in the table for the state things are in. Nothing has changed."""


class Task:
    """A node of the graph and where it stands. Written by `Workflow.apply` only, but for `model`."""

    __slots__ = (
        "alternative", "approval", "attempt", "cached", "causes", "child", "completed_at", "definition",
        "dependents", "error", "failures", "index", "instance", "losses", "model", "provider", "ready_at", "result",
        "signals", "started_at", "state", "unmet", "until", "wants_all",
    )  # fmt: skip

    def __init__(self, definition: TaskDefinition, index: int) -> None:
        self.definition = definition
        """With the call that is its turn: once it fell back, the alternative's."""
        self.alternative = 0
        """Which of the definition's `fallback` that is, from 1; 0 is its own."""
        self.causes: tuple[str, ...] = ()
        """Why the calls before that one have failed, in short."""
        self.cached = False
        """Completed without a call."""
        self.index = index
        self.dependents: list[Task] = []
        self.state: ev.TaskStatus = "pending"
        self.attempt = 0
        """The number of the latest attempt; it only grows."""
        self.failures = 0
        """Attempts charged to the retry policy since the last retry by hand."""
        self.losses = 0
        """Calls whose provider died under them."""
        self.unmet = len(definition.dependencies)
        self.result: Raw | None = None
        self.error: ev.Failure | None = None
        self.model = ""
        """What its call asks for; the engine notes it when it queues the task, as providers differ in their models."""
        self.provider = ""
        self.instance = ""
        self.ready_at = 0
        self.started_at = 0
        self.completed_at = 0
        self.until: int | None = None
        self.signals: tuple[str, ...] = ()
        self.wants_all = False
        """It waits for each of the signals."""
        self.child = ""
        """The id of the workflow that its latest attempt has started."""
        self.approval: ev.Approval | None = None
        """What it asks while it waits for a person."""

    def stop_waiting(self) -> None:
        self.until = None
        self.signals = ()
        self.wants_all = False
        self.approval = None

    @property
    def id(self) -> str:
        return self.definition.id


class Workflow:
    """Build it with `replay`, or from its `WorkflowSubmitted`. `seq` is the number of the last event applied."""

    __slots__ = (
        "completed_at", "counts", "created_at", "definition", "error", "id",
        "inputs", "meter", "outputs", "released", "retried_at", "seq", "signals", "started_at", "state", "submitted",
        "tasks", "updated_at",
    )  # fmt: skip

    def __init__(self, submitted: ev.WorkflowSubmitted) -> None:
        self.submitted = submitted
        self.id = submitted.workflow_id
        self.definition: Definition = submitted.definition
        self.inputs = submitted.inputs
        self.state: ev.WorkflowStatus = "pending"
        self.created_at = self.updated_at = submitted.at
        self.started_at = 0
        self.retried_at = 0
        self.completed_at = 0
        self.error: ev.Failure | None = None
        self.outputs: Raw = ev.NULL
        self.signals: deque[ev.SignalReceived] = deque()
        self.tasks = {d.id: Task(d, i) for i, d in enumerate(submitted.definition.tasks)}
        for task in self.tasks.values():
            for dependency in task.definition.dependencies:
                self.tasks[dependency].dependents.append(task)
        self.counts: dict[ev.TaskStatus, int] = {"pending": len(self.tasks)}
        self.meter = meter_for(self.definition)
        """What was spent, if somebody has set a budget."""
        self.released: list[Task] = []
        """Tasks that became ready since the owner last emptied this list."""
        self.seq = 1
        for task in self.tasks.values():
            if task.unmet == 0:
                self._release(task, submitted.at)

    # What the rules ask

    @property
    def final(self) -> bool:
        return self.state in ev.WORKFLOW_FINAL

    @property
    def unfinished(self) -> int:
        """How many tasks have not ended."""
        return len(self.tasks) - sum(self.counts.get(state, 0) for state in ev.TASK_FINAL)

    def tolerates(self, task: Task) -> bool:
        """Whether dependents run although this task failed, with null for its result."""
        return self.definition.error_policy == "continue" or task.definition.on_error == "skip"

    def satisfied(self, dependency: Task) -> bool:
        """Whether what depends on the task may run, as far as this one is concerned."""
        return dependency.state == "completed" or (dependency.state == "failed" and self.tolerates(dependency))

    # Moving

    def apply(self, event: ev.AnyEvent) -> None:
        """Move. Raises Refused, and changes nothing, if the tables do not allow it."""
        _APPLY[type(event)](self, event)
        if self.meter is not None:
            self.meter.note(event)
        self.seq += 1
        self.updated_at = event.at

    def _move_workflow(self, event: ev.AnyEvent) -> None:
        try:
            self.state = states.WORKFLOW[self.state, type(event).__name__]
        except KeyError:
            raise Refused(f"{type(event).__name__} while workflow {self.id} is {self.state}") from None

    def _next(self, task: Task, cause: str) -> ev.TaskStatus:
        try:
            return states.TASK[task.state, cause]
        except KeyError:
            raise Refused(f"{cause} while task {task.id} of {self.id} is {task.state}") from None

    def _set(self, task: Task, state: ev.TaskStatus) -> None:
        counts = self.counts
        counts[task.state] -= 1
        counts[state] = counts.get(state, 0) + 1
        task.state = state

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

    def _release(self, task: Task, at: int) -> None:
        self._set(task, states.TASK[task.state, states.DEPENDENCIES_MET])
        task.ready_at = at
        self.released.append(task)

    def _satisfy_dependents(self, task: Task, at: int) -> None:
        for dependent in task.dependents:
            dependent.unmet -= 1
            if dependent.unmet == 0 and dependent.state == "pending":
                self._release(dependent, at)

    def _ready_again(self, task: Task, state: ev.TaskStatus, at: int) -> None:
        self._set(task, state)
        task.until = None
        if state == "ready":
            task.ready_at = at
            self.released.append(task)

    def _started(self, event: ev.TaskStarted) -> None:
        task = self._begin(event)
        task.provider = event.provider
        task.instance = event.instance

    def _waiting(self, event: ev.TaskWaiting) -> None:
        task = self._begin(event)
        task.until = event.until
        task.signals = event.signals
        task.wants_all = event.all
        task.child = event.child
        task.approval = event.approval

    def _cached(self, event: ev.TaskCached) -> None:
        task = self._begin(event)
        task.provider = task.instance = ""
        task.cached = True
        task.result = event.result
        task.completed_at = event.at
        self._satisfy_dependents(task, event.at)

    def _begin(self, event: ev.TaskStarted | ev.TaskWaiting | ev.TaskCached) -> Task:
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
        for signal in self.signals_for(task) or ():
            self.signals.remove(signal)
        task.stop_waiting()
        self._satisfy_dependents(task, event.at)

    def signals_for(self, task: Task) -> list[ev.SignalReceived] | None:
        """Those that came and that end the wait of the task, the earliest of a name; None while it has to wait."""
        found: dict[str, ev.SignalReceived] = {}
        for signal in self.signals if task.signals else ():
            if signal.name in task.signals and signal.name not in found:
                found[signal.name] = signal
                if not task.wants_all:
                    break
        if task.wants_all and len(found) < len(set(task.signals)):
            return None
        return list(found.values()) or None

    def _retrying(self, event: ev.TaskRetrying) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskRetrying"))
        task.stop_waiting()
        task.failures += 1
        task.error = event.error
        task.until = event.until
        task.completed_at = event.at

    def _fell_back(self, event: ev.TaskFellBack) -> None:
        task = self._task(event, event.task, event.attempt)
        state = self._next(task, "TaskFellBack")
        if not task.alternative < event.alternative <= len(task.definition.fallback):
            raise Refused(f"task {task.id} of {self.id} has no alternative {event.alternative} left")
        self._ready_again(task, state, event.at)
        task.failures = 0
        task.error = event.error
        task.completed_at = event.at
        task.causes = (*task.causes, _cause(task, event.error.message))
        self._use(task, event.alternative)

    def _use(self, task: Task, alternative: int) -> None:
        task.alternative = alternative
        task.definition = with_alternative(self.definition.tasks[task.index], alternative)

    def _refused(self, event: ev.CallRefused) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "CallRefused"))
        task.until = event.until

    def _lost(self, event: ev.CallLost) -> None:
        task = self._task(event, event.task, event.attempt)
        self._ready_again(task, self._next(task, "CallLost"), event.at)
        task.losses += event.may_have_run

    def _task_released(self, event: ev.TaskReleased) -> None:
        task = self._task(event, event.task)
        self._ready_again(task, self._next(task, "TaskReleased"), event.at)

    def _failed(self, event: ev.TaskFailed) -> None:
        task = self._task(event, event.task, event.attempt)
        self._set(task, self._next(task, "TaskFailed"))
        task.failures += 1
        task.error = event.error
        task.completed_at = event.at
        task.stop_waiting()
        if self.tolerates(task):
            self._satisfy_dependents(task, event.at)

    def _skipped(self, event: ev.TaskSkipped) -> None:
        self._end_unrun(event, "TaskSkipped")

    def _cancelled(self, event: ev.TaskCancelled) -> None:
        self._end_unrun(event, "TaskCancelled")

    def _end_unrun(self, event: ev.TaskSkipped | ev.TaskCancelled, cause: str) -> None:
        task = self._task(event, event.task)
        self._set(task, self._next(task, cause))
        task.completed_at = event.at
        task.stop_waiting()

    def _paused(self, event: ev.WorkflowPaused) -> None:
        self._move_workflow(event)

    def _resumed(self, event: ev.WorkflowResumed) -> None:
        self._move_workflow(event)

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
        self.signals.append(event)

    def _retried(self, event: ev.WorkflowRetried) -> None:
        chosen = [self.tasks[name] for name in event.tasks if name in self.tasks]
        reset = [(task, self._next(task, states.RESET)) for task in chosen]
        self._move_workflow(event)
        self.retried_at = event.at
        self.completed_at = 0
        self.error = None
        for task, state in reset:
            self._set(task, state)
            task.failures = task.losses = 0
            task.error = None
            task.completed_at = 0
            task.causes = ()
            self._use(task, 0)
        for task, _ in reset:
            task.unmet = sum(not self.satisfied(self.tasks[name]) for name in task.definition.dependencies)
            if task.unmet == 0:
                self._release(task, event.at)


def _cause(task: Task, message: str) -> str:
    called = task.definition.fallback[task.alternative - 1].label if task.alternative else "the task's own call"
    return f"{called}: {message[:_CAUSE_CHARACTERS]}{'…' if len(message) > _CAUSE_CHARACTERS else ''}"


_APPLY: dict[type[ev.AnyEvent], Callable[[Workflow, Any], None]] = {
    ev.TaskStarted: Workflow._started,
    ev.TaskWaiting: Workflow._waiting,
    ev.TaskCompleted: Workflow._completed,
    ev.TaskCached: Workflow._cached,
    ev.TaskFellBack: Workflow._fell_back,
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
    ev.WorkflowRetried: Workflow._retried,
}


def replay(stream: Iterable[ev.AnyEvent]) -> Workflow:
    """The workflow whose events these are, in order. Raises Refused if they cannot be a workflow's."""
    events = iter(stream)
    first = next(events, None)
    if not isinstance(first, ev.WorkflowSubmitted):
        raise Refused(f"a stream begins with WorkflowSubmitted, not with {type(first).__name__}")
    workflow = Workflow(first)
    for event in events:
        workflow.apply(event)
    return workflow
