"""The `id` that a document gives itself: a row beside its workflow's by which it is found, as by its name.

It is a stream without events, appended in the same commit as the workflow's first event.
"""

from gleitzeit.engine.workflow import Workflow
from gleitzeit.journal.base import Append, Summary

OWN_ID = "own-id"
_STREAM = "$id/"


def own_id_append(workflow: Workflow) -> Append | None:
    """None for a workflow that has none, or whose name is the same."""
    definition = workflow.definition
    own = definition.metadata.get("id")
    if not isinstance(own, str) or own == definition.name:
        return None
    stream, at = own_id_stream(workflow.id), workflow.created_at
    return Append(stream, 1, (), Summary(stream, OWN_ID, own, "submitted", False, at, at))


def own_id_stream(workflow_id: str) -> str:
    return f"{_STREAM}{workflow_id}"


def workflow_of(row: Summary) -> str:
    """The id of the workflow that a row found by OWN_ID stands for."""
    return row.stream.removeprefix(_STREAM)
