"""To find a task as people name it."""

from gleitzeit import errors
from gleitzeit.engine.workflow import Task, Workflow


def task_of(workflow: Workflow, name: str) -> Task:
    """By id, else by name. Raises TaskNotFound."""
    task = workflow.tasks.get(name)
    if task is None:
        task = next((t for t in workflow.tasks.values() if t.definition.name == name), None)
    if task is None:
        raise errors.TaskNotFound(f"workflow {workflow.id} has no task {name!r}", {"tasks": list(workflow.tasks)[:50]})
    return task
