"""What a task is called in references and dependencies."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from gleitzeit.spec.findings import Findings
from gleitzeit.spec.problems import show_path
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.references import RESERVED
from gleitzeit.spec.tasks.task_draft import TaskDraft

WORDS: Final = frozenset({"and", "or", "not", "in"})
"""Of expressions: where one of them stands, no task can be meant."""
_TAKEN: Final = RESERVED | WORDS


class NameIndex(Struct, frozen=True):
    """`ids`: id or name -> id. An id goes before a name; `ambiguous` are names of several tasks: they mean none."""

    ids: dict[str, str]
    ambiguous: frozenset[str]


def is_reserved(name: str) -> bool:
    """Whether references read something else where it, or what comes before its first dot, stands."""
    return name.partition(".")[0] in _TAKEN


def index_names(tasks: Iterable[tuple[str, str]]) -> NameIndex:
    """Of `(id, name)` pairs; "" is no name. A reserved word as a name is only for people to read."""
    pairs = list(tasks)
    ids = {task_id: task_id for task_id, _ in pairs}
    by_name: dict[str, str] = {}
    ambiguous = set()
    for task_id, name in pairs:
        if name and name not in ids and not is_reserved(name) and by_name.setdefault(name, task_id) != task_id:
            ambiguous.add(name)
    named = {name: task_id for name, task_id in by_name.items() if name not in ambiguous}
    return NameIndex({**named, **ids}, frozenset(ambiguous))


class Names:
    """The tasks of one document by what they are called. An id that is there twice is reported."""

    def __init__(self, drafts: Iterable[TaskDraft], findings: Findings) -> None:
        self.by_id: dict[str, TaskDraft] = {}
        drafts = list(drafts)
        for draft in drafts:
            first = self.by_id.setdefault(draft.id, draft)
            if first is not draft:
                message = f"task id '{draft.id}' is there twice; the first is {show_path(first.path)}"
                findings.error((*draft.path, draft.id_key), message, see=first.path)
        index = index_names((draft.id, draft.name) for draft in drafts)
        self.ids = index.ids
        self.ambiguous = index.ambiguous
        self.dotted = any("." in name for name in index.ids)
        self.odd = expressions.odd_names(index.ids)
        self.gates: dict[str, list[str]] = {}
        """id -> the switches that name the task."""
        for draft in drafts:
            if draft.flow.switch is not None:
                for _, name in draft.flow.switch.named():
                    self.gates.setdefault(index.ids.get(name, ""), []).append(draft.id)
