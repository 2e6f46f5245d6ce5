"""Whom the signal of a task may mean, as coordinators tell each other."""

from msgspec import Struct

from gleitzeit.model.events import WorkflowStatus


class Target(Struct, frozen=True):
    """A workflow that is meant by `text`, which is its id or its name; empty: by a broadcast."""

    text: str
    workflow_id: str
    status: WorkflowStatus
