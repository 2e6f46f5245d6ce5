"""What workflows take in memory, about: counted for those that have ended, which stay only while there is room."""

from gleitzeit.engine.workflow import Workflow

WORKFLOW_BYTES = 1_200
TASK_BYTES = 1_200
"""With its definition, and what the workflow knows about it."""
ITEM_BYTES = 900
"""Of a `for_each`: it has the definition of its task."""


def weight_bytes(workflow: Workflow) -> int:
    """Also of what is sent and stored as JSON: it is kept as it came."""
    definition, tasks = workflow.definition, workflow.tasks.values()
    own = [task for task in tasks if task.parent is None]
    lists = [task.definition.for_each for task in own if task.definition.for_each is not None]
    texts = [definition.parameters, definition.inputs, definition.config, workflow.inputs, workflow.outputs]
    return (
        WORKFLOW_BYTES
        + TASK_BYTES * len(own)
        + ITEM_BYTES * (len(tasks) - len(own))
        + sum(map(len, texts))
        + sum(len(task.definition.params) for task in own)
        + sum(len(each.over) for each in lists)
        + sum(len(task.result) for task in tasks if task.result is not None)
        + sum(len(task.error.message) + len(task.error.data) for task in tasks if task.error is not None)
    )
