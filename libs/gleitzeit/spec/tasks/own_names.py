"""Names that only one task sees: `item`, `index` and `matrix` of its items, `loop` of its rounds."""

from typing import Final

from gleitzeit.spec.tasks.flow import ForEachDraft
from gleitzeit.spec.tasks.task_draft import TaskDraft

Keys = tuple[str, ...] | None
"""What can be read of a name that only one task sees; None where that is not known."""
OF_ITEMS: Final = frozenset({"item", "index", "matrix"})
OF_ROUNDS: Final = frozenset({"loop"})


def seen_by(draft: TaskDraft) -> dict[str, Keys]:
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
