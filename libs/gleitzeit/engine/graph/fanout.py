"""`for_each` and `matrix`: the items of a task, what becomes of it when they end, and what its result is.

An item is a task of its own, `task[7]`, with the body of its parent. The parent's result is that of its items, in
their order, made from theirs when somebody asks for it; or with `by` a map, as batches of files have it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit.engine.graph.cleanup import is_spared
from gleitzeit.engine.state.task import Fan, Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.errors import ParameterError, ResourceExhausted
from gleitzeit.model import events as ev
from gleitzeit.model.definition import ForEach
from gleitzeit.spec.references.paths import Joined, joined, payload
from gleitzeit.spec.references.references import substitute
from gleitzeit.spec.references.resolution import Scope

MOST_TASKS = 100_000
"""In one workflow, its items included."""
_UNSTARTED = frozenset({"pending", "ready", "retrying"})
_decode = msgspec.json.Decoder().decode


def values_of(for_each: ForEach, scope: Scope) -> list[Any]:
    """What `${item}` stands for, one for each item. Raises ParameterError, and ResourceExhausted for too many."""
    over = _decode(for_each.over)
    if for_each.references:
        over = scope.filled(over)
    over = scope.opened(over)
    if for_each.matrix:
        over = {**over, "axes": {name: scope.opened(axis) for name, axis in over["axes"].items()}}
        values = _combinations(over, for_each.max_items)
    elif isinstance(over, list):
        values = over
    else:
        raise ParameterError(f"for_each wants a list, not {_kind(over)}")
    if len(values) > for_each.max_items:
        what = "matrix" if for_each.matrix else "for_each"
        raise ResourceExhausted(f"{what} has {len(values):,} items; max_items is {for_each.max_items:,}")
    return values


def _combinations(over: dict[str, Any], most: int) -> list[Any]:
    """In order, the first axis slowest; without those that an `exclude` fits; each `include` adds to all combinations
    of whose values it changes none, and is one more where there is no such."""
    made: list[dict[str, Any]] = [{}]
    for name, axis in over["axes"].items():
        if not isinstance(axis, list):
            raise ParameterError(f"matrix: '{name}' wants a list, not {_kind(axis)}")
        if len(made) * len(axis) > 10 * most:
            raise ResourceExhausted(f"matrix has more than {10 * most:,} combinations; max_items is {most:,}")
        made = [{**one, name: value} for one in made for value in axis]
    rules = over.get("exclude", ())
    kept = [one for one in made if not any(all(one.get(n) == v for n, v in rule.items()) for rule in rules)]
    made = list(kept)
    for extra in over.get("include", ()):
        fitting = [
            n for n, one in enumerate(kept) if all(one.get(name, value) == value for name, value in extra.items())
        ]
        for number in fitting:
            made[number] = {**made[number], **extra}
        if not fitting:
            made.append(extra)
    return made


def _kind(value: object) -> str:
    return {str: "a text", dict: "a map", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def check_room(workflow: Workflow, parent: Task, count: int) -> None:
    """Raises ResourceExhausted if the workflow would have too many tasks."""
    others = len(workflow.tasks) - (len(parent.fan.items) if parent.fan is not None else 0)
    if others + count > MOST_TASKS:
        raise ResourceExhausted(f"with {count:,} items the workflow would have more than {MOST_TASKS:,} tasks")


def is_given_up(parent: Task) -> bool:
    """Whether an item has failed for which no other one is to begin."""
    fan, for_each = parent.fan, parent.definition.for_each
    return fan is not None and fan.failed is not None and for_each is not None and for_each.on_item_error == "fail"


def why_given_up(parent: Task) -> str:
    return f"item {parent.fan.failed.number if parent.fan is not None and parent.fan.failed is not None else 0} failed"


def follows(workflow: Workflow, parent: Task, clock: Callable[[], int]) -> Iterator[ev.AnyEvent]:
    """What is to be recorded after items have ended: each event before the next is asked for, be it in a later turn."""
    fan, for_each, attempt = parent.fan, parent.definition.for_each, parent.attempt
    if fan is None or for_each is None or parent.state != "waiting":
        return
    error = _failure(fan.failed) if fan.failed is not None and is_given_up(parent) else None
    if error is None and for_each.by and not fan.left and _all_failed(fan):
        none = f"none of {len(fan.items):,} went well; the first"
        yield ev.TaskFailed(clock(), parent.id, attempt, _failure(fan.items[0], none))
        return
    at_once = (
        workflow.definition.error_policy == "fail_fast" and not workflow.tolerates(parent) and not is_spared(parent)
    )
    if error is not None and fan.left and not at_once:
        for item in fan.items:
            if item.state in _UNSTARTED:
                yield ev.TaskCancelled(clock(), item.id, why_given_up(parent))
    if parent.state != "waiting" or parent.attempt != attempt:
        return
    if error is not None and (not fan.left or at_once):
        yield ev.TaskFailed(clock(), parent.id, attempt, error)
    elif not fan.left:
        yield ev.TaskCompleted(clock(), parent.id, attempt)


def _all_failed(fan: Fan) -> bool:
    return fan.failed is not None and all(item.state == "failed" for item in fan.items)


def _failure(item: Task, which: str = "") -> ev.Failure:
    assert item.error is not None
    error = item.error
    message = f"{which or f'item {item.number}'}: {error.message}"
    return ev.Failure(error.code, message, error.name, error.data, error.retryable)


def joined_result(parent: Task) -> object:
    """The result of a task with items, for references: Joined, or a map."""
    assert parent.fan is not None
    assert parent.definition.for_each is not None
    if parent.definition.for_each.by:
        return _mapped(parent, parent.definition.for_each)
    return Joined(list(_results(parent)))


def _mapped(parent: Task, for_each: ForEach) -> dict[str, object]:
    assert parent.fan is not None
    entries: dict[str, dict[str, object]] = {}
    tokens: list[int] = []
    for value, item in zip(_decode(for_each.over), parent.fan.items, strict=True):
        key = str(substitute(value[for_each.by], lambda reference: reference.source))
        if item.state == "completed":
            result = _decode(item.result or ev.NULL)
            entries[key] = _success(result)
            if isinstance(result, dict) and isinstance(used := result.get("tokens_used"), int):
                tokens.append(used)
        elif item.error is not None and for_each.on_item_error != "skip":
            entries[key] = {"status": "failed", "error": item.error.message}
    failed = sum(entry["status"] == "failed" for entry in entries.values())
    return {
        "result": entries,
        "summary": {"total": len(entries), "successful": len(entries) - failed, "failed": failed},
        **({"usage": {"total_tokens": sum(tokens)}, "tokens_used": sum(tokens)} if tokens else {}),
    }


def _success(result: object) -> dict[str, object]:
    entry: dict[str, object] = {"status": "success", "content": payload(result)}
    return entry | {"json": result["json"]} if isinstance(result, dict) and "json" in result else entry


def _results(parent: Task) -> Iterator[tuple[object, bool]]:
    assert parent.fan is not None
    assert parent.definition.for_each is not None
    mode = parent.definition.for_each.on_item_error
    for item in parent.fan.items:
        if item.state == "completed":
            yield _decode(item.result or ev.NULL), True
        elif item.state == "failed" and item.error is not None:
            if mode != "skip":
                yield {"error": _error(item.error)}, False
        else:
            yield None, False


def _error(error: ev.Failure) -> dict[str, object]:
    return {"code": error.code, "name": error.name, "message": error.message}


def joined_raw(parent: Task) -> Raw:
    """The same as it travels: the list of what the items came to, or the map."""
    result = joined_result(parent)
    return Raw(msgspec.json.encode(joined(result, ()) if isinstance(result, Joined) else result))
