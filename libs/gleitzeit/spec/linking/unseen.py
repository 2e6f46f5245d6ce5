"""Conditions that look at a failure which they never see: what depends on a failed task is skipped before them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from gleitzeit.spec.findings import Findings
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.resolution import split_base
from gleitzeit.spec.tasks.names import Names
from gleitzeit.spec.tasks.task_draft import TaskDraft

_SATISFIED: Final = {
    "status": r"""\s*\}?\s*(?:==\s*['"](?:completed|skipped)['"]|!=\s*['"]failed['"])""",
    "error": r"\s*\}?\s*==\s*null",
}
"""What may follow: it is false after a failure anyway, as if the task was skipped for that."""


def warn_of_unseen_failures(drafts: Iterable[TaskDraft], names: Names, error_policy: str, findings: Findings) -> None:
    """Where dependents run after a failure too (`continue`, `always`, `on_failure`, `on_error: skip`) it is seen."""
    if error_policy == "continue":
        return
    for draft in drafts:
        if draft.flow.trigger != "success":
            continue
        for path, text in draft.flow.when:
            for source, target in _outcomes_read(text, names):
                message = (
                    f"'{draft.id}' is skipped when '{target.id}' fails, before its condition is looked at: "
                    f"add 'always: true' to it (or 'on_error: skip' to '{target.id}')"
                )
                findings.warning(path, message, needle=source)


def _outcomes_read(text: str, names: Names) -> Iterator[tuple[str, TaskDraft]]:
    """Each task whose end the text reads and that may fail, with the words."""
    if not any(f".{word}" in text for word in _SATISFIED):
        return
    with suppress(expressions.Unreadable):  # that has been said
        for reference in expressions.read(text, names.odd):
            found = split_base(reference, names.ids)
            word = found[1][0] if found is not None and found[1] else ""
            if found is None or word not in _SATISFIED:
                continue
            target = names.by_id[names.ids[found[0]]]
            sure = target.on_error == "skip" or target.flow.switch is not None or _has_key(target, word)
            if not sure and not re.search(re.escape(reference.text) + _SATISFIED[word], text):
                yield reference.text, target


def _has_key(target: TaskDraft, key: str) -> bool:
    """Whether its method's own results have such a key: then that is what is read."""
    schema = target.schema.result if target.schema is not None else None
    return isinstance(schema, dict) and key in schema.get("properties", {})
