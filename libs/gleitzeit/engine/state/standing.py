"""Where a workflow stands: its tasks, what they wait for, and what the rules ask of it. How it moves is `workflow`."""

import itertools
from collections.abc import Iterator
from typing import Self, TypeAlias, TypeVar

from msgspec import Raw

from gleitzeit.engine.state import states
from gleitzeit.engine.state.meter import Meter, has_budget
from gleitzeit.engine.state.sharing import share, share_task
from gleitzeit.engine.state.task import Task
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition

STEP = 500
"""Tasks, or events."""
T = TypeVar("T")
Few: TypeAlias = list[T] | tuple[()]
"""What most workflows have none of: `()` costs nothing, and a list 70 bytes for each of them."""


class Standing:
    """`seq` is the number of the last event applied."""

    __slots__ = (
        "closing", "completed_at", "counted", "counts", "created_at", "definition", "disowned", "error", "failing",
        "id", "inputs", "late", "late_open", "meter", "ordinary", "outcome", "outputs", "released", "retried_at", "seq",
        "signal_keys", "signals", "source", "started_at", "state", "stirred", "submitted", "tasks", "undoable",
        "undoing", "updated_at",
    )  # fmt: skip

    def __init__(self, submitted: ev.WorkflowSubmitted) -> None:
        for _ in self._steps(submitted):
            pass

    def __del__(self) -> None:
        """Items know their task and it knows them: a circle of thousands would stay until the next collection."""
        for task in getattr(self, "tasks", {}).values():
            if task.parent is not None:
                break
            task.fan = None

    @classmethod
    def in_steps(cls, submitted: ev.WorkflowSubmitted) -> Iterator[Self]:
        """Built in steps of about a millisecond, for who has others waiting: what comes last is whole."""
        workflow = cls.__new__(cls)
        for _ in workflow._steps(submitted):
            yield workflow
        yield workflow

    def _steps(self, submitted: ev.WorkflowSubmitted) -> Iterator[None]:
        shared = share(submitted)
        self.submitted = submitted
        self.source: Self | None = None
        """The workflow that it runs again, kept by the engine while that may give results; no part of the stream."""
        self.id = submitted.workflow_id
        self.disowned = False
        """Another coordinator has it now: what is still under way here must have no effect any more."""
        self.definition: Definition = submitted.definition
        self.inputs = submitted.inputs
        self.state: ev.WorkflowStatus = "pending"
        self.counted: ev.WorkflowStatus = self.state
        """As what it stands in the counts of its owner."""
        self.created_at = self.updated_at = submitted.at
        self.started_at = 0
        self.retried_at = 0
        self.completed_at = 0
        self.error: ev.Failure | None = None
        self.outputs: Raw = ev.NULL
        self.signals: Few[ev.SignalReceived] = ()
        self.signal_keys: dict[str, str] | None = None
        """The last idempotency keys of signals, each with the sha256 of what it came with."""
        self.tasks: dict[str, Task] = {}
        """Those of the definition, in its order; then items of `for_each` and undos, as they came."""
        self.meter: Meter | None = None
        """What was spent, if somebody has set a budget."""
        self.released: list[Task] = []
        """Tasks that became ready since the owner last emptied this list."""
        self.stirred: dict[Task, None] | None = None
        """Tasks with items, of which some have ended since the owner last emptied this."""
        self.closing: ev.WorkflowCancelling | None = None
        """It is to end, and what has to run before does."""
        self.ordinary = 0
        """How many tasks that are not late have not ended."""
        self.failing = 0
        """How many tasks have failed, not counting those whose failure is of no consequence."""
        self.late_open = False
        self.outcome = ""
        """What it had come to when its late tasks began: completed, failed or cancelled."""
        self.undoable: Few[Task] = ()
        """Completed tasks that can be undone, in the order of their completion."""
        self.undoing: Task | None = None
        """The undo that has not ended."""
        self.seq = 1
        limited = self.definition.budget is not None
        for index, definition in enumerate(submitted.definition.tasks):
            if index % STEP == STEP - 1:
                yield
            if not shared:
                share_task(definition)
            self.tasks[definition.id] = Task(definition, index)
            self.ordinary += not definition.late
            limited = limited or has_budget(definition)
        self.meter = Meter() if limited else None
        self.late = len(self.tasks) - self.ordinary
        """How many of the definition's tasks are late."""
        self.counts: dict[ev.TaskStatus, int] = {"pending": len(self.tasks)}
        for index, task in enumerate(self.tasks.values()):
            if index % STEP == STEP - 1:
                yield
            self._join(task)
        self._open_late(submitted.at)

    def _join(self, task: Task) -> None:
        """Tie it to those that it depends on, which are all there."""
        definition = task.definition
        task.unmet = len(definition.dependencies) + definition.late
        for dependency in definition.dependencies:
            other = self.tasks[dependency]
            other.dependents = with_one(other.dependents, task)
        if not task.unmet:
            self._release(task, self.created_at)

    # What the rules ask

    @property
    def final(self) -> bool:
        return self.state in ev.WORKFLOW_FINAL

    @property
    def unfinished(self) -> int:
        """How many tasks have not ended."""
        counts = self.counts.get
        ended = counts("completed", 0) + counts("failed", 0) + counts("skipped", 0) + counts("cancelled", 0)
        return len(self.tasks) - ended

    def tolerates(self, task: Task) -> bool:
        """Whether dependents run although this task failed, with null for its result."""
        return self.definition.error_policy == "continue" or task.definition.on_error == "skip"

    def satisfied(self, dependency: Task) -> bool:
        """Whether what depends on the task may run, as far as this one is concerned."""
        return (
            dependency.state == "completed"
            or dependency.bypassed
            or (dependency.state == "failed" and self.tolerates(dependency))
        )

    def meets(self, dependent: Task, dependency: Task) -> bool:
        """As `satisfied`, but for those that only wait for an end."""
        return self.satisfied(dependency) or (dependent.definition.trigger != "success" and dependency.ended)

    @property
    def outcome_now(self) -> str:
        if self.closing is not None and self.closing.error is None:
            return "cancelled"
        return "failed" if self.failing or self.closing is not None else "completed"

    @property
    def to_undo(self) -> Task | None:
        """The completed task whose undo is next. None while others have to end before, or if nothing is to be."""
        if not self.undoable or self.ordinary or self.undoing is not None or self.outcome_now == "completed":
            return None
        return None if self.late_open and self.unfinished else self.undoable[-1]

    def document_tasks(self) -> Iterator[Task]:
        """Those of the definition, without items and undos."""
        return itertools.islice(self.tasks.values(), len(self.definition.tasks))

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

    # Of what moves

    def _set(self, task: Task, state: ev.TaskStatus) -> None:
        counts = self.counts
        counts[task.state] -= 1
        counts[state] = counts.get(state, 0) + 1
        task.state = state

    def _release(self, task: Task, at: int) -> None:
        self._set(task, states.TASK[task.state, states.DEPENDENCIES_MET])
        task.ready_at = task.queued_at = at
        self.released.append(task)

    def _after_end(self, task: Task, at: int, *, met: bool, was_active: bool = True) -> None:
        """The task has ended. `met`: what depends on it may run, as far as this one is concerned."""
        parent = task.parent
        if parent is not None and parent.fan is not None and parent.definition.for_each is not None:
            parent.fan.end(task, was_active=was_active)
            self.stir(parent)
            for item in parent.fan.due(parent.definition.for_each):
                self._release(item, at)
        elif task.origin is None and not task.definition.late:
            self.ordinary -= 1
        if task.state == "completed" and task.definition.undo is not None and not task.expands:
            self.undoable = with_one(self.undoable, task)
        if task is self.undoing:
            self.undoing = None
        for dependent in task.dependents:
            if met or dependent.definition.trigger != "success":
                dependent.unmet -= 1
                if dependent.unmet == 0 and dependent.state == "pending":
                    self._release(dependent, at)
        if not self.ordinary and not self.late_open:
            self._open_late(at)

    def stir(self, parent: Task) -> None:
        if self.stirred is None:
            self.stirred = {}
        self.stirred[parent] = None

    def _open_late(self, at: int) -> None:
        """Let the late tasks begin, once everything else has ended, and is undone if it has to be."""
        if self.ordinary or self.late_open or self.to_undo is not None or self.undoing is not None:
            return
        self.late_open, self.outcome = True, self.outcome_now
        for task in list(self.document_tasks()) if self.late else ():
            if task.definition.late:
                task.unmet -= 1
                if task.unmet == 0 and task.state == "pending":
                    self._release(task, at)

    def _ready_again(self, task: Task, state: ev.TaskStatus, at: int) -> None:
        self._set(task, state)
        task.until = None
        if state == "ready":
            task.ready_at = at
            if not task.refusals:
                task.queued_at = at
            self.released.append(task)


def with_one(few: Few[T], one: T) -> list[T]:
    if isinstance(few, list):
        few.append(one)
        return few
    return [one]
