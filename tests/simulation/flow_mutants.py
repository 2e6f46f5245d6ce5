"""Planted bugs in what decides whether, how often and when tasks run."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace
from tests.simulation.mutants import Patch, mutant

from gleitzeit.engine.decisions import flow, settling
from gleitzeit.engine.decisions import params as params_module
from gleitzeit.engine.graph import cleanup, fanout, loops
from gleitzeit.engine.state.task import Fan, Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model.definition import ForEach, Until
from gleitzeit.spec.references.paths import Joined


@mutant
def runs_what_is_not_wanted() -> list[Patch]:
    return [(settling, "why_unwanted", lambda *_: None)]


@mutant
def lets_all_items_run_at_once() -> list[Patch]:
    due = Fan.due

    def unbounded(self: Fan, for_each: ForEach) -> Iterator[Task]:
        return due(self, replace(for_each, max_parallel=None))

    return [(Fan, "due", unbounded)]


@mutant
def loses_an_item_of_the_list() -> list[Patch]:
    whole = fanout.joined_result

    def without_the_last(parent: Task, *more: Any) -> Joined:
        return Joined(whole(parent, *more).results[:-1])

    return [(params_module, "joined_result", without_the_last)]


@mutant
def forgets_the_bound_of_a_loop() -> list[Patch]:
    after_round = loops.after_round

    def for_ever(task: Task, until: Until, *more: Any) -> Any:
        return after_round(task, replace(until, max=until.max + 1), *more)

    return [(flow.loops, "after_round", for_ever)]


@mutant
def cancels_what_runs_always() -> list[Patch]:
    return [(cleanup, "is_spared", lambda task: False)]


@mutant
def undoes_nothing() -> list[Patch]:
    return [(Workflow, "to_undo", property(lambda self: None))]


@mutant
def undoes_the_first_thing_first() -> list[Patch]:
    to_undo = Workflow.to_undo.fget
    assert to_undo is not None

    def first(self: Workflow) -> Task | None:
        return self.undoable[0] if to_undo(self) is not None else None

    return [(Workflow, "to_undo", property(first))]
