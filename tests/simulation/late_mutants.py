"""Planted bugs in what came late: a full journal, call ids that were answered with busy, results that nobody has
heard, watches that move, ends that are cut short, and what is run again."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from tests.simulation.mutants import OF_TWO, Patch, mutant

from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Permit
from gleitzeit.provider.calls import CallTable
from gz_coordinator.sharing.relays import Relay

OF_TWO |= {
    "begins_anew_with_a_watch_that_moves",
    "cuts_short_who_is_turned_away",
}

# When the journal is full


@mutant
def keeps_in_memory_what_a_full_journal_took_back() -> list[Patch]:
    def only_answer(self: Engine, *_: Any) -> list[Any]:
        return []

    return [(Engine, "go_back", only_answer)]


@mutant
def forgets_which_permits_it_had_when_it_goes_back() -> list[Patch]:
    return [(Engine, "_permits_as_before", _nothing_at_all)]


def _nothing_at_all(self: Any) -> None:
    """As if there were none."""


# What is run again


@mutant
def takes_over_what_was_undone() -> list[Patch]:
    def as_if_not(self: Engine, workflow: Workflow, task: Task) -> bool:
        old = workflow.source.tasks.get(task.id) if workflow.source is not None else None
        if old is None or not old.undone:
            return reuse(self, workflow, task)
        old.undone = False
        try:
            return reuse(self, workflow, task)
        finally:
            old.undone = True

    reuse = Engine._reuse
    return [(Engine, "_reuse", as_if_not)]


@mutant
def takes_over_what_is_to_run_anew() -> list[Patch]:
    return [(Engine, "_may_reuse", lambda self, workflow, task, anew: True)]


@mutant
def calls_again_what_has_a_result() -> list[Patch]:
    return [(Engine, "_reuse", lambda self, workflow, task: False)]


@mutant
def takes_over_what_had_other_params() -> list[Patch]:
    reuse = Engine._reuse

    def whatever_it_was_called_with(self: Engine, workflow: Workflow, task: Task) -> bool:
        with patch.object(self._params, "digest", lambda *of: ""):
            return reuse(self, workflow, task)

    return [(Engine, "_reuse", whatever_it_was_called_with)]


# Providers


@mutant
def executes_what_it_has_turned_away() -> list[Patch]:
    return [(CallTable, "_refuse", lambda self, call_id, refusal: None)]


@mutant
def forgets_results_that_nobody_has_heard() -> list[Patch]:
    lost = CallTable.lost

    def and_forget(self: CallTable, connection: int, now: float) -> Any:
        for entry in [entry for entry in self._kept.values() if entry.connection == connection]:
            del self._kept[entry.key]
            self.kept_bytes -= entry.size_bytes
        return lost(self, connection, now)

    return [(CallTable, "lost", and_forget)]


# Watches


@mutant
def begins_anew_with_a_watch_that_moves() -> list[Patch]:
    return [(Relay, "position", lambda self: {"after": 0, "streams": {}})]


# Ends


@mutant
def cuts_short_who_is_turned_away() -> list[Patch]:
    def cutting(what: Callable[..., None]) -> Callable[..., None]:
        def cut(self: Engine, permit: Permit, *why: str) -> None:
            ends = permit.task is None and permit.workflow.closing is not None and not permit.workflow.final
            what(self, permit, *why)
            if ends:
                self._cancel_workflow(permit.workflow, "it is turned away")

        return cut

    return [(Engine, name, cutting(getattr(Engine, name))) for name in ("_turned_away", "_evict")]


@mutant
def cuts_short_what_its_schedule_replaces() -> list[Patch]:
    fire = Engine._fire

    def whatever_it_does(self: Engine, schedule: Schedule, due: int, cause: Any) -> None:
        replaces = schedule.definition.overlap == "cancel_running"
        for workflow in [self.workflows[name] for name in self.under_way(schedule) if replaces]:
            self._cancel_workflow(workflow, "the next one starts")
        fire(self, schedule, due, cause)

    return [(Engine, "_fire", whatever_it_does)]


@mutant
def cuts_short_children_that_end_already() -> list[Patch]:
    def whatever_they_do(self: Engine, parent: Workflow, task: Task, reason: str) -> None:
        child = self.workflows.get(task.child) if task.child else None
        if child is not None and not child.final:
            self._cancel_workflow(child, reason)

    return [(Engine, "_cancel_child", whatever_they_do)]


@mutant
def starts_though_its_workflow_is_being_stopped() -> list[Patch]:
    return [(Engine, "_is_stopped", lambda self, workflow, task: False)]
