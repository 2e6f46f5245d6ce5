"""The workflows that are in memory, and how many of them are in each state: of 100,000 nobody counts that anew for each
who asks."""

from collections import Counter
from collections.abc import Iterable

from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model.events import WorkflowStatus


class Population(dict[str, Workflow]):
    """By id. The owner's duty: call `note` with those that have moved."""

    def __init__(self) -> None:
        super().__init__()
        self._counts = Counter[WorkflowStatus]()

    @property
    def counts(self) -> dict[WorkflowStatus, int]:
        """Only the states that there are."""
        return {state: count for state, count in self._counts.items() if count}

    def __setitem__(self, workflow_id: str, workflow: Workflow) -> None:
        if workflow_id in self:
            del self[workflow_id]
        super().__setitem__(workflow_id, workflow)
        workflow.counted = workflow.state
        self._counts[workflow.state] += 1

    def __delitem__(self, workflow_id: str) -> None:
        self._counts[self[workflow_id].counted] -= 1
        super().__delitem__(workflow_id)

    def note(self, workflows: Iterable[Workflow]) -> None:
        for workflow in workflows:
            if workflow.counted != workflow.state and self.get(workflow.id) is workflow:
                self._counts[workflow.counted] -= 1
                self._counts[workflow.state] += 1
                workflow.counted = workflow.state
