"""Planted bugs in what is spread over turns, and in what is seen between them."""

from collections.abc import Iterator

from tests.simulation.mutants import Patch, mutant

from gleitzeit.engine.decisions.sweeps import Sweeps
from gleitzeit.engine.state.workflow import Workflow
from gz_coordinator.service import Service


@mutant
def forgets_what_is_left_of_a_sweep() -> list[Patch]:
    def once(self: Sweeps, workflow: Workflow, steps: Iterator[None]) -> None:
        self._walk(steps)

    return [(Sweeps, "_sweep", once)]


@mutant
def goes_on_with_what_has_ended() -> list[Patch]:
    def go_on(self: Sweeps) -> None:
        for workflow in [self.workflows[name] for name in self._sweeps]:
            sweeps = self._sweeps.pop(workflow.id)
            while sweeps and self._walk(sweeps[-1]):
                sweeps.pop()
            if sweeps:
                self._sweeps[workflow.id] = sweeps + self._sweeps.get(workflow.id, [])
            elif workflow.id not in self._sweeps:
                self._answer_askers(workflow)
            self._touch(workflow)

    return [(Sweeps, "_go_on", go_on)]


@mutant
def shows_what_is_being_appended() -> list[Patch]:
    durable = Service._durable

    def anything(self: Service, workflow_id: str) -> Workflow | None:
        self._undurable = ()
        return durable(self, workflow_id)

    return [(Service, "_durable", anything)]
