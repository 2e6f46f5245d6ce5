"""`when`, `for_each`, `switch`, `until` and what runs at the end, brought together with a document's other tasks."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit.errors import ParameterError
from gleitzeit.model.definition import Case, ForEach, Switch, TaskDefinition, Until
from gleitzeit.spec.linking.reference_checks import ReferenceChecks
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.references import Reference, has_places, parse, texts_in
from gleitzeit.spec.tasks.flow import ForEachDraft, SwitchDraft, UntilDraft
from gleitzeit.spec.tasks.own_names import OF_ITEMS, seen_by
from gleitzeit.spec.tasks.task_draft import TaskDraft


class LinkedFlow(Struct, frozen=True):
    when: str = ""
    for_each: ForEach | None = None
    switch: Switch | None = None
    until: Until | None = None


def link_flow(checks: ReferenceChecks, draft: TaskDraft, needs: dict[str, None]) -> LinkedFlow:
    """What the task reads is added to `needs`."""
    flow = draft.flow
    for_each = _for_each(checks, flow.for_each, needs) if flow.for_each is not None else None
    with checks.seeing(seen_by(draft)):
        read = [(checks.condition(text, path, needs), checks.last_read) for path, text in flow.when]
        until = _until(checks, flow.until, draft.id, needs) if flow.until is not None else None
    conditions = [condition for condition, _ in read]
    if for_each is not None:
        of_each = any(reference.base in OF_ITEMS for _, references in read for reference in references)
        for_each = replace(for_each, when_each=of_each)
    when = conditions[0] if len(conditions) == 1 else " && ".join(f"({condition})" for condition in conditions)
    switch = _switch(checks, flow.switch, needs) if flow.switch is not None else None
    return LinkedFlow(when, for_each, switch, until)


def _for_each(checks: ReferenceChecks, draft: ForEachDraft, needs: dict[str, None]) -> ForEach:
    over: Any = draft.over
    if isinstance(over, str):
        over = _one_reference(checks, over, draft.path)
    written = {"axes": over, "include": draft.include, "exclude": draft.exclude} if draft.matrix else over
    for text in texts_in(written):
        checks.text(text, draft.path, needs)
    encoded = msgspec.json.encode(written)
    return ForEach(
        Raw(encoded),
        references=b"${" in encoded or b"{{" in encoded,
        matrix=draft.matrix,
        max_parallel=draft.max_parallel,
        max_items=draft.max_items,
        on_item_error=draft.on_item_error,
        by=draft.by,
    )


def _one_reference(checks: ReferenceChecks, text: str, path: Path) -> str:
    """`${task.items}`, or the same without the braces."""
    whole = text.strip() if has_places(text) else f"${{{text.strip()}}}"
    try:
        parts = parse(whole)
    except ParameterError:
        return whole  # what is wrong with it is said where all texts are checked
    if len(parts) != 1 or not isinstance(parts[0], Reference):
        checks.complain(path, "'for_each' is a list, or one reference to a list, like '${task.items}'")
    return whole


def _until(checks: ReferenceChecks, draft: UntilDraft, own: str, needs: dict[str, None]) -> Until:
    read = dict[str, None]()
    condition = checks.condition(draft.condition, draft.path, read, result_of=own)
    needs |= {name: None for name in read if name != own}
    if condition and own not in read and not any(one.base == "loop" for one in checks.last_read):
        message = f"the condition does not read the task's own result (${{{own}…}}), so that no round can change it"
        checks.warn(draft.path, message)
    return Until(condition, draft.max, draft.every_seconds, draft.on_exhausted)


def _switch(checks: ReferenceChecks, draft: SwitchDraft, needs: dict[str, None]) -> Switch:
    value = draft.value
    if value and not has_places(value):
        value = f"${{{value.strip()}}}"
    if value:
        checks.text(value, draft.path, needs)
    cases = tuple(
        Case(
            checks.tasks_called(case.run),
            case.value,
            checks.condition(case.when, case.when_path, needs) if case.when else "",
        )
        for case in draft.cases
    )
    return Switch(value, cases, checks.tasks_called(draft.default))


def with_late_ones(tasks: Sequence[TaskDefinition], last: Iterable[str]) -> tuple[TaskDefinition, ...]:
    """What runs at the end has no dependencies, or is one of `last`, which says so; and what depends on such a task."""
    late = {task.id for task in tasks if task.trigger != "success" and not task.dependencies} | set(last)
    if not late:
        return tuple(tasks)
    dependents: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.dependencies:
            dependents.setdefault(name, []).append(task.id)
    stack = list(late)
    while stack:
        for name in dependents.get(stack.pop(), ()):
            if name not in late:
                late.add(name)
                stack.append(name)
    return tuple(replace(task, late=True) if task.id in late else task for task in tasks)
