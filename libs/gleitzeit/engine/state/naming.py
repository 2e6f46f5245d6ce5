"""To find a task as people name it."""

from gleitzeit import errors
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.schemas import near


def task_of(workflow: Workflow, name: str) -> Task:
    """By id, else by name. Raises TaskNotFound."""
    task = workflow.tasks.get(name)
    if task is None:
        task = next((t for t in workflow.tasks.values() if t.definition.name == name), None)
    if task is None:
        raise not_found(workflow, name)
    return task


def not_found(workflow: Workflow, name: str) -> errors.TaskNotFound:
    suggestion = near(name, {word for task in workflow.tasks.values() for word in (task.id, task.definition.name)})
    meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
    return errors.TaskNotFound(
        f"workflow {workflow.id} has no task {name!r}{meant}",
        {"tasks": list(workflow.tasks)[:50], "suggestion": suggestion},
    )
