"""A workflow that is run again: what nothing has changed for takes the result that it had."""

from msgspec import Raw
from msgspec.structs import replace

from gleitzeit.engine.decisions.core import COORDINATOR
from gleitzeit.engine.decisions.settling import Settling
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.errors import GleitzeitError
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition


class Rerun(Settling):
    def _reuse(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task whose turn it is has taken the result that it had in the workflow that is run again."""
        source = workflow.source
        old = source.tasks.get(task.id) if source is not None else None
        if source is None or old is None or old.state != "completed" or old.result is None or task.attempt:
            return False
        if old.undone or task.origin is not None:  # its effect is there no longer; and what undoes has one each time
            return False
        origin = workflow.submitted.origin
        anew = origin.from_task if origin is not None else ""
        if task.expands or task.definition.switch is not None or not self._may_reuse(workflow, task, anew):
            return False
        try:
            if self._params.digest(workflow, task) != self._params.digest(source, old):
                return False
        except GleitzeitError:  # what cannot be resolved will say so when it starts
            return False
        event = ev.TaskCached(
            self._now, task.id, task.attempt + 1, "", old.result, min(old.completed_at, self._now), source.id
        )
        self._record(workflow, event)
        return True

    def _may_reuse(self, workflow: Workflow, task: Task, anew: str) -> bool:
        """Not the task that is to be run anew, or the one item of it; and what was waited for after it, is waited for
        again.
        """
        if anew in (task.id, _own_id(task)):
            return False
        schema = self.catalogue.get(task.definition.method)
        waits = schema is not None and schema.runs == COORDINATOR
        return not waits or not anew or _own_id(task) not in _after(workflow.definition, _named(workflow, anew))


def _own_id(task: Task) -> str:
    """Of an item: that of the task that stands for all of them."""
    return task.definition.id


def _named(workflow: Workflow, anew: str) -> str:
    known = workflow.source.tasks.get(anew) if workflow.source is not None else None
    return _own_id(known) if known is not None else anew


def _after(definition: Definition, name: str) -> set[str]:
    """Everything that waits for a task, however far."""
    found: set[str] = set()
    grown = True
    while grown:
        grown = False
        for task in definition.tasks:
            if task.id not in found and not found.union((name,)).isdisjoint(task.dependencies):
                found.add(task.id)
                grown = True
    return found


def with_params(definition: Definition, task_id: str, params: bytes) -> Definition:
    """The definition with other params of one task."""
    tasks = tuple(
        replace(one, params=Raw(params), references=True) if one.id == task_id else one for one in definition.tasks
    )
    return replace(definition, tasks=tasks)
