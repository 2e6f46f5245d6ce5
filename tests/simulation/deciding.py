"""The engine of a coordinator, of which the laws see who has asked it to end a workflow."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.schemas import Catalogue


class Deciding(Engine):
    def __init__(self, catalogue: Catalogue, identity: Identity, counts: dict[str, int]) -> None:
        super().__init__(catalogue, identity)
        self._counts = counts
        self._cancels: dict[str, list[Any]] = {}
        """By workflow under way: the tokens of those who asked for its end, since it was written last."""

    def decide(self, now: int, inputs: Iterable[inp.Input]) -> Decision:
        for item in inputs:
            if type(item) is inp.Cancel:
                workflow = self.workflows.get(item.workflow_id)
                if workflow is not None and not workflow.final:
                    self._cancels.setdefault(workflow.id, []).append(item.token)
        decision = super().decide(now, inputs)
        assert self.workflows.counts == Counter(workflow.state for workflow in self.workflows.values())
        return decision

    def take_cancels(self, workflow_id: str) -> int:
        """How often this commit, or a turn since the last one of the workflow, was asked to end it. Who was answered
        that there is no space has asked in vain."""
        tokens = self._cancels.pop(workflow_id, ())
        return sum(not token.done() or token.result().error is None for token in tokens)

    def go_back(self, *arguments: Any) -> list[Any]:
        self._counts["went_back"] += 1
        return super().go_back(*arguments)
