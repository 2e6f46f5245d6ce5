"""The laws of tasks that are not wanted, are many, go round, run at the end, or are undone.

18. Nothing that was skipped runs; what is wanted is not skipped.
19. The items of a task are as many as its list has, no more of them are under way than its `max_parallel`, and what
    refers to it gets their results in order, none missing.
20. A loop never has more rounds than its bound.
21. What runs always ends, and not before the others where it runs last; only a second cancel cuts it short.
22. Completed tasks are undone once, the last one first, before a workflow has failed or is cancelled.
"""

import re
from typing import TYPE_CHECKING, Any

import msgspec

from gleitzeit.model import events as ev

if TYPE_CHECKING:
    from tests.simulation.laws import Durable, DurableTask

ENDED = ("completed", "failed", "skipped", "cancelled")
_CONDITION = re.compile(r"string\(\$\{(\w+)\}\)\.size\(\) % (\d) (!=|==) 0")


class Breach(Exception):
    """`law` is broken; the caller knows how to say it."""

    def __init__(self, law: int, what: str) -> None:
        super().__init__(what)
        self.law = law


def is_spared(task: "DurableTask") -> bool:
    return task.definition.trigger != "success" or task.definition.late or task.origin is not None


def is_given_up(task: "DurableTask") -> bool:
    """An item that does not start any more because another one has failed."""
    return task.parent is not None and any(item.state == "failed" for item in task.parent.items or ())


def document_tasks(durable: "Durable") -> "list[DurableTask]":
    return [durable.tasks[one.id] for one in durable.definition.tasks]


def value_of(durable: "Durable", name: str) -> Any:
    """What `${name}` stands for."""
    task = durable.tasks[name]
    if task.state != "completed":
        return None
    if task.items is None:
        return task.result.get("result", task.result) if isinstance(task.result, dict) else task.result
    mode = task.definition.for_each.on_item_error
    return [_of_item(item) for item in task.items if not (mode == "skip" and item.state == "failed")]


def _of_item(item: "DurableTask") -> Any:
    if item.state == "failed":
        return {"error": item.error}
    return item.result if item.state == "completed" else None


def values_of(definition: Any) -> list[Any]:
    over = msgspec.json.decode(definition.for_each.over)
    if not definition.for_each.matrix:
        return list(over)
    return [{"a": a, "b": b} for a in over["axes"]["a"] for b in over["axes"]["b"]]


def holds(durable: "Durable", task: "DurableTask") -> bool:
    """Whether the task's condition does, as the documents of the simulation have it."""
    definition = task.definition
    each = definition.for_each is not None and definition.for_each.when_each
    if not definition.when or each is (task.parent is None):
        return True
    if each:
        return task.number % 2 == 0
    return _compares(durable, definition.when)


def _compares(durable: "Durable", condition: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    if found is None:
        return condition != "1 == 2"
    value = value_of(durable, found[1])
    size = len(value) if isinstance(value, str) else len(msgspec.json.encode(value).decode())
    return (size % int(found[2]) == 0) is (found[3] == "==")


def wanted(durable: "Durable", task: "DurableTask") -> str:
    """ "" if it is to run, else the cause for which it is skipped."""
    if task.parent is None:
        needs = [durable.tasks[name] for name in task.definition.dependencies]
        last = task.definition.late and all(other.definition.late for other in needs)
        has_failed = durable.outcome == "failed" if last else _any_failed(durable, needs)
        if task.definition.trigger == "failure" and not has_failed:
            return "on_failure"
        if task.definition.trigger == "success" and needs and all(other.bypassed for other in needs):
            return "dependencies"
        if any(_not_chosen(other, task) for other in needs):
            return "switch"
    return "" if holds(durable, task) else "when"


def _any_failed(durable: "Durable", needs: "list[DurableTask]") -> bool:
    """Or did not get its turn because something else failed."""
    states = [other.state for other in needs if other.state != "skipped" or not other.bypassed]
    return "failed" in states or "skipped" in states or ("cancelled" in states and durable.outcome == "failed")


def note_wanted(durable: "Durable") -> None:
    """It is about to be cancelled: what runs after a failure, and could start before that, still may. Of what runs
    last it was said before."""
    for task in document_tasks(durable):
        if task.definition.trigger == "failure" and not task.definition.late and task.state in ("pending", "ready"):
            ended = all(durable.tasks[name].state in ENDED for name in task.definition.dependencies)
            task.was_wanted = ended and not wanted(durable, task)


def _not_chosen(other: "DurableTask", task: "DurableTask") -> bool:
    switch = other.definition.switch
    if switch is None or other.state != "completed":
        return False
    named = {name for case in switch.cases for name in case.run} | set(switch.default)
    return task.definition.id in named and task.definition.id not in other.result["tasks"]


def check_start(durable: "Durable", task: "DurableTask") -> None:
    """It is about to run. Whether it is wanted was asked before it began: what it has begun it goes on with."""
    if task.origin is not None:
        return
    cause = "" if task.began or task.was_wanted else wanted(durable, task)
    if cause:
        raise Breach(18, f"{task.name} starts though it is not wanted ({cause})")
    if task.definition.late:
        open_ones = [t.name for t in document_tasks(durable) if not t.definition.late and t.state not in ENDED]
        if open_ones:
            raise Breach(21, f"{task.name} runs last, but {open_ones} have not ended")
    if task.parent is not None:
        _check_items(task.parent, task)


def _check_items(parent: "DurableTask", starting: "DurableTask") -> None:
    if parent.state != "waiting":
        raise Breach(19, f"{starting.name} starts while the task that it belongs to is {parent.state}")
    busy = [i.name for i in parent.items or () if i is not starting and i.began and i.state not in ENDED]
    most = parent.definition.for_each.max_parallel
    if most is not None and len(busy) >= most:
        raise Breach(19, f"{starting.name} starts while {busy} are under way; max_parallel is {most}")


def check_skip(durable: "Durable", task: "DurableTask", cause: str) -> None:
    expected = wanted(durable, task)
    if expected != cause:
        raise Breach(18, f"{task.name} is skipped for {cause!r}, not for {expected!r}")


def check_parents_end(task: "DurableTask") -> None:
    """A task with items has completed."""
    left = [item.name for item in task.items or () if item.state not in ENDED]
    if left:
        raise Breach(19, f"{task.name} is completed while {left} are not")
    if task.definition.for_each.on_item_error == "fail" and any(i.state == "failed" for i in task.items or ()):
        raise Breach(19, f"{task.name} is completed though items have failed")


def check_parents_failure(task: "DurableTask", error: ev.Failure) -> None:
    """A task that is to have items, or has them, has failed: for one of them."""
    failed = [item for item in task.items or () if item.state == "failed"]
    if task.items is not None and not any(error.message == f"item {i.number}: {i.error['message']}" for i in failed):
        raise Breach(19, f"{task.name} fails with {error.message!r}, which none of its items did")


def check_undo(durable: "Durable", name: str) -> None:
    """The next to be undone must be the last that completed, once all that is not late has ended."""
    if not durable.undoable or durable.undoable[-1] != name:
        raise Breach(22, f"{name} is undone, but the turn is {durable.undoable[-1:] or 'nobody'}'s")
    open_ones = [t.name for t in document_tasks(durable) if not t.definition.late and t.state not in ENDED]
    if open_ones or any(t.origin is not None and t.state not in ENDED for t in durable.tasks.values()):
        raise Breach(22, f"{name} is undone while {open_ones or 'another undo'} has not ended")


def check_end(durable: "Durable", status: str) -> None:
    if status == "completed" or durable.hurried:
        return
    if durable.undoable:
        raise Breach(22, f"it is {status}, and {durable.undoable} were not undone")


def is_out_of_time(durable: "Durable") -> bool:
    """What runs at the end has its time, too."""
    seconds = durable.definition.timeout_seconds
    return seconds is not None and durable.closing is not None and durable.at >= durable.closing.at + seconds * 1000


def expected_params(durable: "Durable", task: "DurableTask", params: dict[str, Any]) -> dict[str, Any]:
    """What references in the params of a call stand for."""
    expected = {"n": params["n"], "note": "${t0.value}"}
    expected["in"] = [value_of(durable, text[2:-1]) for text in params["in"]]
    item = task if task.origin is None else task.origin
    if "index" in params:
        expected |= {"index": item.number, "item": values_of(item.definition)[item.number]}
    if "round" in params:
        expected |= {"round": task.round + 1, "last": task.last["value"] if task.last is not None else None}
    if "undoes" in params and task.origin is not None:
        expected["undoes"] = task.origin.result["value"]
    return expected


def repeated(task: "DurableTask", event: ev.TaskRepeated) -> None:
    result = msgspec.json.decode(event.result)
    if _is_done(task, result):
        raise Breach(20, f"{task.name} goes on although its condition holds")
    task.round += 1
    if task.round >= task.definition.until.max:
        raise Breach(20, f"{task.name} goes into round {task.round + 1}; it has at most {task.definition.until.max}")
    task.last, task.until, task.failures, task.losses = result, event.until, 0, 0


def _is_done(task: "DurableTask", result: Any) -> bool:
    """Whether its condition holds, as the documents of the simulation have it."""
    if task.definition.method == "approval/ask":
        return bool(result["approved"])
    return bool(result["value"] % 3 == 0)


def check_rounds(task: "DurableTask") -> None:
    """It has completed."""
    until = task.definition.until
    if not _is_done(task, task.result) and not (until.on_exhausted == "continue" and task.round + 1 == until.max):
        raise Breach(20, f"{task.name} is completed in round {task.round + 1}, and its condition does not hold")
