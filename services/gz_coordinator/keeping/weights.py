"""What workflows take in memory, about: counted for those that have ended, which stay only while there is room."""

from gleitzeit.engine.state.workflow import Workflow

WORKFLOW_BYTES = 1_200
TASK_BYTES = 1_200
"""With its definition, and what the workflow knows about it."""
ITEM_BYTES = 900
"""Of a `for_each`: it has the definition of its task."""


def weight_bytes(workflow: Workflow, enough: int | None = None) -> int:
    """Also of what is sent and stored as JSON: it is kept as it came. More than `enough` is not looked at closely."""
    definition, tasks = workflow.definition, workflow.tasks.values()
    if enough is not None and len(tasks) * ITEM_BYTES > enough:
        return len(tasks) * ITEM_BYTES
    texts = [definition.parameters, definition.inputs, definition.config, workflow.inputs, workflow.outputs]
    total = WORKFLOW_BYTES + sum(map(len, texts))
    for task in tasks:  # one loop, as there may be 100,000
        if task.parent is None:
            each = task.definition.for_each
            total += TASK_BYTES + len(task.definition.params) + (len(each.over) if each is not None else 0)
        else:
            total += ITEM_BYTES
        if task.result is not None:
            total += len(task.result)
        if task.error is not None:
            total += len(task.error.message) + len(task.error.data)
    return total
