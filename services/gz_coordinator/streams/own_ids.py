"""The `id` that a document gives itself: a row beside its workflow's by which it is found, as by its name.

It is a stream without events, appended in the same commit as the workflow's first event. That of a batch of files says
so in its status.
"""

from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Append, Summary
from gleitzeit.model.definition import Definition
from gleitzeit.spec.files.batches import TASK

OWN_ID = "own-id"
BATCH = "batch"
_STREAM = "$id/"


def own_id_append(workflow: Workflow) -> Append | None:
    """None for a workflow that has none, or whose name is the same and is no batch."""
    definition = workflow.definition
    own = definition.metadata.get("id")
    batch = is_batch(definition)
    if not isinstance(own, str) or (own == definition.name and not batch):
        return None
    stream, at = own_id_stream(workflow.id), workflow.created_at
    return Append(stream, 1, (), Summary(stream, OWN_ID, own, BATCH if batch else "submitted", False, at, at))


def is_batch(definition: Definition) -> bool:
    """Whether its document was of type batch."""
    first = definition.tasks[0]
    made = isinstance(definition.metadata.get("batch"), dict) and first.id == TASK
    return made and first.for_each is not None and first.for_each.by == "path"


def own_id_stream(workflow_id: str) -> str:
    return f"{_STREAM}{workflow_id}"


def workflow_of(row: Summary) -> str:
    """The id of the workflow that a row found by OWN_ID stands for."""
    return row.stream.removeprefix(_STREAM)
