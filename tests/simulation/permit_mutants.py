"""Planted bugs about permits of keys where one coordinator keeps them all."""

from tests.simulation.mutants import Patch, mutant

from gleitzeit.engine.engine import Engine
from gleitzeit.engine.scheduling import permits
from gleitzeit.engine.state.workflow import Task, Workflow


@mutant
def passes_permits_on_by_arrival() -> list[Patch]:
    by_arrival = {"queue": 0, "cancel_running": permits.FIRST}
    return [(permits, "rank_of", lambda ask: by_arrival[ask.on_conflict])]


@mutant
def gives_one_permit_to_all_items() -> list[Patch]:
    may_begin = Engine._may_begin

    def with_the_first(self: Engine, workflow: Workflow, task: Task) -> bool:
        items = task.parent.fan.items if task.parent is not None and task.parent.fan is not None else ()
        return any(item is not task and item in self._permit_of for item in items) or may_begin(self, workflow, task)

    return [(Engine, "_may_begin", with_the_first)]
