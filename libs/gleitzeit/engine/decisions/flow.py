"""Tasks that stand for others, and tasks that run in rounds: `for_each`, `switch`, `until`."""

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.decisions.concurrency import Concurrency
from gleitzeit.engine.decisions.core import failure
from gleitzeit.engine.graph import conditions, fanout, loops
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model import events as ev


class Flow(Concurrency):
    def _begin_flow(self, workflow: Workflow, task: Task) -> None:
        """A task that calls nobody: it has its items now, or takes its case."""
        attempt = task.attempt + 1
        try:
            if task.expands:
                values = self._params.items(workflow, task)
                fanout.check_room(workflow, task, len(values))
                self._record(workflow, ev.TasksAdded(self._now, task.id, attempt, len(values)))
            elif task.definition.switch is not None:
                result = conditions.switched(task.definition.switch, self._params.scope(workflow, task))
                self._record(workflow, ev.TaskWaiting(self._now, task.id, attempt, self._now))
                self._record(workflow, ev.TaskCompleted(self._now, task.id, attempt, result))
        except BlobNeeded as needed:
            self._need_blob(workflow, task, needed)
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))

    def _finish(self, workflow: Workflow, task: Task, result: Raw) -> None:
        """A task that runs or waits has its result: the end of it, or of a round."""
        until = task.definition.until
        if until is None:
            self._record(workflow, ev.TaskCompleted(self._now, task.id, task.attempt, result))
            return
        try:
            scope = self._params.scope(workflow, task, result)
            event = loops.after_round(task, until, result, self._now, lambda: scope.holds(until.condition))
        except BlobNeeded as needed:
            self._await_blob(needed, self._finish_again, workflow, task, task.attempt, result)
            return
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        self._record(workflow, event)
        if isinstance(event, ev.TaskRepeated):
            self._at(event.until, self._release, workflow, task, task.attempt)

    def _finish_again(self, workflow: Workflow, task: Task, attempt: int, result: Raw) -> None:
        if task.state in ("running", "waiting") and task.attempt == attempt and not workflow.final:
            self._finish(workflow, task, result)

    def _blob_for_end(self, workflow: Workflow, task: Task, result: Raw) -> BlobNeeded | None:
        """What must be loaded before it is known whether the task, with this result of a round, goes on."""
        until = task.definition.until
        if until is None:
            return None
        try:
            self._params.scope(workflow, task, result).holds(until.condition)
        except BlobNeeded as needed:
            return needed
        except errors.GleitzeitError:
            return None  # told when the round is ended
        return None
