"""Planted bugs in what people are asked."""

from typing import Any

from msgspec import structs
from tests.simulation.mutants import Patch, _instead_of, mutant

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model import events as ev


@mutant
def calls_again_what_it_should_ask_about() -> list[Patch]:
    may_repeat = Engine._may_repeat

    def whatever_the_task_says(self: Engine, task: Task) -> bool:
        return task.definition.on_lost == "ask" or may_repeat(self, task)

    return [(Engine, "_may_repeat", whatever_the_task_says)]


@mutant
def calls_again_at_a_start_what_it_has_asked_about() -> list[Patch]:
    adopt_task = Engine._adopt_task

    def and_goes_on(self: Engine, workflow: Workflow, task: Task) -> None:
        adopt_task(self, workflow, task)
        if task.approval is not None and task.approval.of_call:
            self._record(workflow, ev.TaskReleased(self._now, task.id))

    return [(Engine, "_adopt_task", and_goes_on)]


@mutant
def takes_an_answer_for_whatever_is_asked() -> list[Patch]:
    def of_any_attempt(self: Engine, item: inp.Complete) -> None:
        Engine._complete(self, structs.replace(item, attempt=None))

    return _instead_of(inp.Complete, of_any_attempt)


@mutant
def hears_only_yes() -> list[Patch]:
    answered = Engine._answered

    def approve(self: Engine, workflow: Workflow, task: Task, approved: bool, *more: Any) -> None:
        answered(self, workflow, task, True, *more)

    return [(Engine, "_answered", approve)]


@mutant
def gives_up_what_it_should_ask_about() -> list[Patch]:
    def never(self: Engine, task: Task) -> bool:
        task.definition = structs.replace(task.definition, on_lost="fail")
        return False

    return [(Engine, "_may_repeat", never)]


@mutant
def answers_by_itself_too_early() -> list[Patch]:
    def arm(self: Engine, workflow: Workflow, task: Task) -> None:
        if task.until is not None:
            early = 400 if task.approval is not None else 0
            self._at(task.until - early, self._wait_over, workflow, task, task.attempt)

    return [(Engine, "_arm_wait", arm)]
