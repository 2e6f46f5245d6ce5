"""Whether a task that could start is wanted: `when`, `switch`, `on_failure`, and what was skipped before it."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model.definition import Case, Switch, TaskDefinition
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.references import as_text
from gleitzeit.spec.references.resolution import Scope, split_base


class Unwanted(Struct, frozen=True):
    """`cause` as in TaskSkipped."""

    cause: str
    reason: str


def why_unwanted(workflow: Workflow, task: Task, scope: Callable[[], Scope]) -> Unwanted | None:
    """None if it is to run. `scope` gives what its condition reads. Raises ParameterError."""
    definition = task.definition
    if task.origin is not None:
        return None
    if task.parent is None and (definition.dependencies or definition.trigger != "success"):
        needs = [workflow.tasks[name] for name in definition.dependencies]
        for rule in (_nothing_failed, _nothing_ran, _not_chosen):
            if (found := rule(workflow, task, needs)) is not None:
                if rule is _nothing_ran and _asks_how_they_ended(definition, needs, scope):
                    continue
                return found
    each = definition.for_each is not None and definition.for_each.when_each
    if definition.when and each is (task.parent is not None) and not scope().holds(definition.when):
        return Unwanted("when", f"its condition does not hold: {definition.when}")
    return None


def _nothing_failed(workflow: Workflow, task: Task, needs: list[Task]) -> Unwanted | None:
    if task.definition.trigger != "failure":
        return None
    waits_for_all = task.definition.late and all(other.definition.late for other in needs)
    if waits_for_all:
        has_failed = workflow.outcome == "failed"
    else:
        has_failed = any(_for_a_failure(workflow, other) for other in needs)
    return None if has_failed else Unwanted("on_failure", "it runs only when something fails, and nothing did")


def _for_a_failure(workflow: Workflow, task: Task) -> bool:
    """Whether it failed, or did not get its turn because something else did."""
    match task.state:
        case "failed":
            return True
        case "skipped":
            return not task.bypassed
        case _:
            return task.state == "cancelled" and (workflow.outcome or workflow.outcome_now) == "failed"


def _nothing_ran(workflow: Workflow, task: Task, needs: list[Task]) -> Unwanted | None:
    if task.definition.trigger != "success" or not needs or not all(other.bypassed for other in needs):
        return None
    names = ", ".join(other.definition.name or other.id for other in needs[:5])
    return Unwanted("dependencies", f"nothing that it depends on ran ({names})")


def _asks_how_they_ended(definition: TaskDefinition, needs: list[Task], scope: Callable[[], Scope]) -> bool:
    """Whether its condition reads the status of something that it depends on: then that decides, and no rule."""
    if not definition.when:
        return False
    named = {name for other in needs for name in (other.id, other.definition.name) if name}
    read = expressions.read(definition.when, scope().odd_names)
    return any(found[1] == ("status",) for one in read if (found := split_base(one, dict.fromkeys(named))) is not None)


def _not_chosen(workflow: Workflow, task: Task, needs: list[Task]) -> Unwanted | None:
    for other in needs:
        switch = other.definition.switch
        if switch is not None and other.state == "completed" and task.id in named_by(switch):
            chosen = msgspec.json.decode(other.result or b"{}")
            if task.id not in chosen["tasks"]:
                took = "no case" if chosen["case"] is None else f"'{chosen['case']}'"
                return Unwanted("switch", f"{other.definition.name or other.id} took {took}")
    return None


def named_by(switch: Switch) -> Iterator[str]:
    """The tasks that run by its leave only."""
    for case in switch.cases:
        yield from case.run
    yield from switch.default


def switched(switch: Switch, scope: Scope) -> Raw:
    """The result of a switch: `{value, case, tasks}`. Raises ParameterError."""
    value = _value_of(switch, scope)
    for number, case in enumerate(switch.cases):
        if _fits(case, value, scope):
            return _result(value, case.value or case.when or str(number), case.run)
    return _result(value, "default" if switch.default else None, switch.default)


def _value_of(switch: Switch, scope: Scope) -> Any:
    return scope.whole(scope.filled(switch.value)) if switch.value else None


def _fits(case: Case, value: object, scope: Scope) -> bool:
    return scope.holds(case.when) if case.when else as_text(value).strip() == case.value


def _result(value: object, case: str | None, tasks: tuple[str, ...]) -> Raw:
    return Raw(msgspec.json.encode({"value": value, "case": case, "tasks": tasks}))
