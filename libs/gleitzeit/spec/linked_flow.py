"""`when`, `for_each`, `switch`, `until` and what runs at the end, brought together with a document's other tasks."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit.errors import ParameterError
from gleitzeit.model.definition import Case, ForEach, Switch, TaskDefinition, Until
from gleitzeit.spec.flow import ForEachDraft, SwitchDraft, UntilDraft
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references import Reference, has_places, parse, texts_in

if TYPE_CHECKING:
    from gleitzeit.spec.linking import Linker
    from gleitzeit.spec.tasks import TaskDraft

Keys = tuple[str, ...] | None
"""What can be read of a name that only one task sees; None where that is not known."""
OF_ITEMS: Final = frozenset({"item", "index", "matrix"})
OF_ROUNDS: Final = frozenset({"loop"})


class LinkedFlow(Struct, frozen=True):
    when: str = ""
    for_each: ForEach | None = None
    switch: Switch | None = None
    until: Until | None = None


def seen_by(draft: "TaskDraft") -> dict[str, Keys]:
    """The names that only this task sees."""
    found: dict[str, Keys] = {}
    for_each = draft.flow.for_each
    if for_each is not None:
        keys = _keys_of_items(for_each)
        found |= {"item": keys, "index": ()}
        if for_each.matrix:
            found["matrix"] = keys
    if draft.flow.until is not None:
        found["loop"] = ("round", "last")
    return found


def _keys_of_items(for_each: ForEachDraft) -> Keys:
    """Those of items that stand in the document and are all maps."""
    if for_each.matrix:
        return tuple({**for_each.over, **{name: None for one in for_each.include for name in one}})
    listed = for_each.over
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        return None
    return tuple(dict.fromkeys(name for one in listed for name in one))


def misread(draft_name: str) -> str:
    """Why `item`, `index`, `matrix` or `loop` stands for nothing in a task."""
    return f"'{draft_name}' stands for something only in a task with {where_seen(draft_name)}"


def where_seen(name: str) -> str:
    """What a task must have to see it."""
    return "'until'" if name in OF_ROUNDS else "'matrix'" if name == "matrix" else "'for_each' or 'matrix'"


def link_flow(linker: "Linker", draft: "TaskDraft", needs: dict[str, None]) -> LinkedFlow:
    """What the task reads is added to `needs`."""
    flow = draft.flow
    for_each = _for_each(linker, flow.for_each, needs) if flow.for_each is not None else None
    with linker.seeing(seen_by(draft)):
        read = [(linker.condition(text, path, needs), linker.last_read) for path, text in flow.when]
        until = _until(linker, flow.until, draft.id, needs) if flow.until is not None else None
    conditions = [condition for condition, _ in read]
    if for_each is not None:
        of_each = any(reference.base in OF_ITEMS for _, references in read for reference in references)
        for_each = replace(for_each, when_each=of_each)
    when = conditions[0] if len(conditions) == 1 else " && ".join(f"({condition})" for condition in conditions)
    switch = _switch(linker, flow.switch, needs) if flow.switch is not None else None
    return LinkedFlow(when, for_each, switch, until)


def _for_each(linker: "Linker", draft: ForEachDraft, needs: dict[str, None]) -> ForEach:
    over: Any = draft.over
    if isinstance(over, str):
        over = _one_reference(linker, over, draft.path)
    written = {"axes": over, "include": draft.include, "exclude": draft.exclude} if draft.matrix else over
    for text in texts_in(written):
        linker.text(text, draft.path, needs)
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


def _one_reference(linker: "Linker", text: str, path: Path) -> str:
    """`${task.items}`, or the same without the braces."""
    whole = text.strip() if has_places(text) else f"${{{text.strip()}}}"
    try:
        parts = parse(whole)
    except ParameterError:
        return whole  # what is wrong with it is said where all texts are checked
    if len(parts) != 1 or not isinstance(parts[0], Reference):
        linker.complain(path, "'for_each' is a list, or one reference to a list, like '${task.items}'")
    return whole


def _until(linker: "Linker", draft: UntilDraft, own: str, needs: dict[str, None]) -> Until:
    read = dict[str, None]()
    condition = linker.condition(draft.condition, draft.path, read, result_of=own)
    needs |= {name: None for name in read if name != own}
    if condition and own not in read and not any(one.base == "loop" for one in linker.last_read):
        message = f"the condition does not read the task's own result (${{{own}…}}), so that no round can change it"
        linker.warn(draft.path, message)
    return Until(condition, draft.max, draft.every_seconds, draft.on_exhausted)


def _switch(linker: "Linker", draft: SwitchDraft, needs: dict[str, None]) -> Switch:
    value = draft.value
    if value and not has_places(value):
        value = f"${{{value.strip()}}}"
    if value:
        linker.text(value, draft.path, needs)
    cases = tuple(
        Case(
            linker.tasks_called(case.run),
            case.value,
            linker.condition(case.when, case.when_path, needs) if case.when else "",
        )
        for case in draft.cases
    )
    return Switch(value, cases, linker.tasks_called(draft.default))


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
